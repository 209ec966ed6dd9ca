"""One fit of a network to some users as Lightning's module and callback: batches, step, optimizer, checkpoints.

lightning_trainer.py runs it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from torch import Tensor

from shared.recipes.hrnn.batch_ranking import NextItemMetrics
from shared.recipes.hrnn.candidates import CandidateSampler
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.plan import TrainingPlan
from shared.recipes.hrnn.prediction_targets import compute_target_weights, gather_batch
from shared.recipes.hrnn.rank import ALONE, Rank
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.hrnn.types import Window
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.ranking_metrics import compute_single_target_ndcg

WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; it then falls to 0 along a cosine."""

PATIENCE = 1 / 3
"""Training stops after this share of the planned epochs in a row, at least 3, without a better validation NDCG."""

AGREED_EVERY = 8
"""Steps after which several ranks ask rank zero if a checkpoint is due."""


class EpochWindows:
    """The windows of one epoch, drawn from a seed of its own, so that a resumed run reads the same windows."""

    def __init__(
        self, streams: Streams, users: npt.NDArray[np.int64], plan: TrainingPlan, seed: tuple[int, int], first: int = 0
    ) -> None:
        self._streams, self._users, self._plan, self._seed, self._first = streams, users, plan, seed, first

    def __len__(self) -> int:
        return self._streams.count_windows(self._users, streams=self._plan.streams, steps=self._plan.bptt)

    def __iter__(self) -> Iterator[Window]:
        windows = self._streams.iter_windows(
            self._users,
            streams=self._plan.streams,
            steps=self._plan.bptt,
            rng=np.random.default_rng(self._seed),
        )
        for number, window in enumerate(windows):
            if number >= self._first:
                yield window


@dataclass
class BestEpoch:
    """The epoch with the best validation NDCG, with its weights if there are validation users."""

    ndcg: float = -math.inf
    epoch: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def as_checkpoint(self) -> dict[str, Any]:
        """Return the entries of a checkpoint, in which the NDCG is called ``gain``."""
        return {"gain": self.ndcg, "epoch": self.epoch, "weights": self.weights}

    @classmethod
    def from_checkpoint(cls, kept: Mapping[str, Any]) -> Self:
        """Read the entries that ``as_checkpoint`` returned."""
        return cls(kept["gain"], kept["epoch"], kept["weights"])


class HrnnModule(lightning.LightningModule):
    """A fit of the network to some users, for a number of epochs."""

    def __init__(
        self,
        network: HrnnNetwork,
        streams: Streams,
        users: npt.NDArray[np.int64],
        plan: TrainingPlan,
        choose: CandidateSampler,
        counts_I: Tensor,
        *,
        epochs: int,
        learning_rate: float,
        seed: int,
        compiled: bool = False,
    ) -> None:
        """``counts_I`` are the interactions from which ``choose`` draws candidates."""
        super().__init__()
        self.network = network
        self.epochs = epochs
        self.streams = streams
        self.users = users
        self.plan = plan
        self.choose = choose
        self.counts_I = counts_I
        self.learning_rate = learning_rate
        self.seed = seed
        self.compiled = compiled
        self.rank = ALONE
        # Not registered as a submodule: checkpoints contain the weights once, compiled or not.
        object.__setattr__(self, "_read", torch.compile(network, dynamic=True) if compiled else network)
        self._state = torch.empty(0)
        self._batch = 0
        self.losses: list[Tensor] = []
        self.best = BestEpoch()
        self.over = False
        """True: validation has ended the training."""

    def join_ranks(self, rank: Rank) -> None:
        """Train on this rank's share of the streams from now on; all ranks have equally many."""
        self.rank = rank
        self.plan = replace(self.plan, streams=-(-self.plan.streams // rank.size) * rank.size)

    def train_dataloader(self) -> EpochWindows:
        return self.create_epoch(self.current_epoch, self._batch)

    def create_epoch(self, number: int, first: int = 0) -> EpochWindows:
        return EpochWindows(self.streams, self.users, self.plan, (self.seed, number), first)

    def on_train_epoch_start(self) -> None:
        if not self._batch:
            self._state = self.network.create_state(self.plan.streams // self.rank.size)
            self.losses = []

    def training_step(self, window: Window, _: int) -> Tensor:
        # Each step has a seed of its own, so that a run can be resumed at any of them.
        seed_torch((self.seed * 1_000_003 + self.current_epoch) * 1_000_003 + self._batch + 500_009 * self.rank.number)
        mine = self.rank.select_streams(window)
        loss, self._state = compute_window_loss(self._read, self.streams, self.choose, mine, self._state)
        if self.rank.size > 1:
            # The mean over ranks is then the mean over all targets of the window.
            loss = loss * (self._sum_weights(mine) / self._sum_weights(window).clamp(min=1e-9) * self.rank.size)
        self._batch += 1
        self.losses.append(loss.detach())
        return loss

    def _sum_weights(self, window: Window) -> Tensor:
        return compute_target_weights(self.streams, window.to(self.streams.device)).sum()

    def end_epoch(self) -> None:
        """Prepare for a checkpoint at the end of an epoch, from which the next one starts."""
        self._batch = 0

    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        # Lightning refuses to clip for a fused optimizer under bf16, although nothing is scaled there.
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["fitting"] = {
            "batch": self._batch,
            "state": self.rank.gather_state(self._state),
            "losses": torch.stack(self.losses) if self.losses else torch.empty(0),
            "best": self.best.as_checkpoint(),
            "over": self.over,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint["fitting"]
        self._batch = kept["batch"]
        self._state = self.rank.select_state(kept["state"]).to(self.streams.device)
        self.best = BestEpoch.from_checkpoint(kept["best"])
        self.losses = list(kept["losses"].to(self.streams.device))

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
            lr=self.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        steps = self.epochs * len(self.create_epoch(0))
        warm_up = max(1, round(WARM_UP * steps))

        def rate(step: int) -> float:
            return min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def load_best_weights(self) -> int:
        """Load the weights of the best epoch into the network; return the epochs that they were trained for."""
        if not self.best.weights:
            return self.epochs
        self.network.load_state_dict(self.best.weights)
        return self.best.epoch

    def compute_mean_loss(self) -> float | None:
        """Return the mean loss of the epoch so far; None before its first step."""
        return float(torch.stack(self.losses).mean()) if self.losses else None


def seed_torch(seed: int) -> None:
    """Seed torch. torch.manual_seed takes three stack traces for absent devices, 4 % of a small step."""
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def compute_window_loss(
    network: Any, streams: Streams, choose: CandidateSampler, window: Window, state_LBW: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss over a window, and the detached state after it. ``network`` may be a compiled one."""
    batch, queries = gather_batch(network, streams, window)
    x_TBH, state_LBW = network(batch.read, state_LBW)
    q_NH = network.compute_query(x_TBH.flatten(0, 1)[batch.rows], queries.after, queries.contexts)
    loss = network.compute_loss(q_NH, queries.pairs, queries.known, batch.targets, choose, queries.spans)
    return loss, state_LBW.detach()


class FitCallback(lightning.Callback):
    """Reports progress and stops if asked before each batch, validates after each epoch, and saves checkpoints."""

    def __init__(
        self,
        reporter: ProgressReporter,
        phase: Phase,
        epochs_before: int,
        checkpoint: Path,
        every_seconds: float,
        validate: Callable[[], NextItemMetrics] | None = None,
    ) -> None:
        """``validate`` measures the network on the validation users; None: there are none, and no early stopping."""
        self.reporter = reporter
        self.every_seconds = every_seconds
        self._phase = phase
        self._epochs_before = epochs_before
        self._checkpoint = checkpoint
        self._kept_at = time.monotonic()
        self._validate = validate
        self._warm = False

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,  # noqa: ARG002 -- Lightning passes it
        batch_idx: int,
    ) -> None:
        self.reporter.stop_if_asked()
        done = self._epochs_before + trainer.current_epoch + batch_idx / trainer.num_training_batches
        if self._warm:
            self.reporter.start_clock(done)
        # The first batch tells nothing of the speed: it compiles kernels, or reads them from the disk.
        self._warm = True
        if self.reporter.is_due():
            assert isinstance(pl_module, HrnnModule)  # noqa: S101
            self.reporter.loss = pl_module.compute_mean_loss() or self.reporter.loss
            self.reporter.report(self._phase, done)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ARG002 -- Lightning passes these
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, HrnnModule)  # noqa: S101
        rank = pl_module.rank
        # After an epoch's last batch, on_train_epoch_end validates first and then saves.
        if batch_idx + 1 == trainer.num_training_batches or (rank.size > 1 and batch_idx % AGREED_EVERY):
            return
        if rank.agree_on(time.monotonic() - self._kept_at >= self.every_seconds):
            self._save_checkpoint(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, HrnnModule)  # noqa: S101
        self.reporter.loss = pl_module.compute_mean_loss()
        pl_module.end_epoch()
        epoch = trainer.current_epoch + 1
        if self._validate is not None:
            metrics = self._validate()
            self.reporter.ndcg = float(compute_single_target_ndcg(metrics.ranks).mean())
            if metrics.ndcg > pl_module.best.ndcg:
                weights = {name: tensor.clone() for name, tensor in pl_module.network.state_dict().items()}
                pl_module.best = BestEpoch(metrics.ndcg, epoch, weights)
            pl_module.over = epoch - pl_module.best.epoch >= max(3, round(PATIENCE * pl_module.epochs))
            self._log_metrics(trainer, epoch, validation_gain=metrics.ndcg)
        else:
            self._log_metrics(trainer, epoch)
        self.reporter.report(self._phase, self._epochs_before + epoch)
        self.reporter.ndcg = None
        pl_module.over = trainer.should_stop = pl_module.rank.agree_on(pl_module.over)
        self._save_checkpoint(trainer)

    def _log_metrics(self, trainer: lightning.Trainer, epoch: int, **values: float) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({f"{self._phase}_loss": self.reporter.loss or math.nan, **values}, step=epoch)
            logger.save()

    def _save_checkpoint(self, trainer: lightning.Trainer) -> None:
        written = self._checkpoint.with_suffix(".new")
        trainer.save_checkpoint(written)  # by all ranks, of which zero writes
        self._kept_at = time.monotonic()
        if not trainer.is_global_zero:
            return
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(self._checkpoint)
