"""Training of aws-hrnn: fit, evaluate, go on with everybody, write. The network itself is network.py."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from safetensors.torch import save_file
from torch import Tensor

from shared.data.histories import Histories
from shared.recipes import artifact as artifacts
from shared.recipes.contract import Progress, Stopped, Trained
from shared.recipes.evaluation import Split, evaluate, popularity
from shared.recipes.hrnn.network import Network
from shared.recipes.hrnn.scoring import history_logits
from shared.recipes.hrnn.streams import Batch, Events

Phase = Literal["training", "evaluating", "retraining", "writing"]

RECENT = 2.0
"""With recency_mask the newest interaction counts so many times as much as the oldest."""

LEARNING_RATE = 6e-3
"""At a hidden_dimension of 43, and in inverse proportion to it: a wide network with this rate learns by heart."""

RETRAINING_EPOCHS = 2
RETRAINING_RATE = 1 / 3
"""Of the learning rate."""

WARM_UP = 0.1
"""Share of the steps; after them the rate falls to 0 along a cosine."""

MULTIPLY_ADDS_A_THREAD = 2**26
"""A step with fewer is done sooner by one thread than by two that wait for each other."""


@dataclass(frozen=True)
class Plan:
    """How much is learnt at a time and how often: from the size of the data, never a user's guess."""

    hidden: int
    bptt: int
    streams: int
    epochs: int

    @property
    def learning_rate(self) -> float:
        return LEARNING_RATE * 43 / self.hidden

    @classmethod
    def of(cls, parameters: Mapping[str, str], events: int) -> Self:
        """Measured on ml-100k: 512 events a step, 12 epochs. More data bears larger steps and needs fewer epochs.

        A shorter bptt means more streams, not smaller steps.
        """
        bptt = int(parameters["bptt"])
        events_a_step = min(max(2 ** round(math.log2(1.7 * math.sqrt(events))), 128), 8192)
        return cls(
            hidden=int(parameters["hidden_dimension"]),
            bptt=bptt,
            streams=max(events_a_step // bptt, 1),
            epochs=min(max(round(11 * (100_000 / events) ** 0.3), 4), 40),
        )


def train(
    histories: Histories,
    parameters: Mapping[str, str],
    *,
    workspace: Path,
    artifact: Path,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    threads: int,
    retrain_on_all_users: bool,
    seed: int = 0,
) -> Trained:
    """``shared.recipes.contract.Train``."""
    started = time.monotonic()
    split = Split.of(histories, seed)
    everybody = np.union1d(split.train, split.test)
    plan = Plan.of(parameters, int(histories.lengths[split.train].sum()))
    epochs = plan.epochs + (RETRAINING_EPOCHS if retrain_on_all_users else 0)
    watch = Watch(progress, should_stop, epochs)
    watch.say("training", 0)

    step = plan.streams * plan.bptt * plan.hidden * len(histories.item_ids)
    torch.set_num_threads(max(1, min(threads or granted_cores(), step // MULTIPLY_ADDS_A_THREAD)))
    torch.manual_seed(seed)
    weights_E = event_weights(histories, recency_mask=parameters["recency_mask"] == "true")
    network = Network(len(histories.item_ids), plan.hidden)
    with torch.no_grad():
        counts_I = popularity(histories, split.train)
        network.bias.copy_(torch.from_numpy(np.log((counts_I + 1) / (counts_I + 1).sum())))
    events = Events(histories, weights_E, watch.stop_if_asked)
    checkpoints = workspace / fingerprint(histories, parameters, seed)
    checkpoints.mkdir(parents=True, exist_ok=True)

    checkpoint = checkpoints / "training.ckpt"
    fit(
        Fitting(network, events, split.train, plan, plan.epochs, plan.learning_rate, seed),
        AtEachBatch(watch, "training", 0, checkpoint),
        checkpoint,
    )
    watch.say("evaluating", plan.epochs)
    evaluated, baseline = evaluate(
        lambda items, timestamps, now: history_logits(
            network.eval(), torch.from_numpy(items.astype(np.int64)), torch.from_numpy(timestamps), now
        ).numpy(),
        histories,
        split,
        watch.stop_if_asked,
    )
    if retrain_on_all_users:
        checkpoint = checkpoints / "retraining.ckpt"
        rate = RETRAINING_RATE * plan.learning_rate
        fit(
            Fitting(network, events, everybody, plan, RETRAINING_EPOCHS, rate, seed + 1),
            AtEachBatch(watch, "retraining", plan.epochs, checkpoint),
            checkpoint,
        )
    watch.say("writing", epochs)
    trained = Trained(metrics=evaluated, baseline=baseline, epochs=epochs, seconds=round(time.monotonic() - started, 3))
    save_file(network.state_dict(), artifact / artifacts.WEIGHTS)
    artifacts.write(
        artifact,
        histories,
        recipe="aws-hrnn",
        parameters=parameters,
        popularity=np.bincount(histories.items, weights_E, minlength=len(histories.item_ids)) / weights_E.sum(),
        report={
            **dataclasses.asdict(trained),
            "users": len(histories.user_ids),
            "test_users": len(split.test),
            "interactions": len(histories.items),
        },
    )
    return trained


def event_weights(histories: Histories, *, recency_mask: bool) -> npt.NDArray[np.float32]:
    """float32[E], 1 on average: what each event counts as a target and in the popularity shown to strangers.

    0 for users outside the percentiles. With recency_mask the weight grows from the oldest event to the newest, to
    RECENT times the oldest's, by the event's place among all events in time and not by its age, so that a gap or a
    burst in the data changes nothing.
    """
    weights_E = np.repeat(histories.in_training, histories.lengths).astype(np.float32)
    if recency_mask:
        # A thousand quantiles of a sample place 25 million events without sorting them.
        sample = histories.timestamps[:: max(1, len(histories.timestamps) // 1_000_000)]
        quantiles = np.unique(np.quantile(sample, np.linspace(0, 1, 1001)))
        weights_E *= RECENT ** np.interp(histories.timestamps, quantiles, np.linspace(0, 1, len(quantiles)))
    weights_E /= weights_E[weights_E > 0].mean()
    return weights_E


def fingerprint(histories: Histories, parameters: Mapping[str, str], seed: int) -> str:
    """Names a run by its input: a checkpoint of other data or other parameters is never taken up."""
    digest = hashlib.sha256(repr((sorted(parameters.items()), seed, artifacts.FORMAT)).encode())
    digest.update("\0".join(histories.item_ids).encode())
    for array in (histories.offsets, histories.items, histories.timestamps):
        digest.update(array.data)
    return digest.hexdigest()[:16]


def granted_cores() -> int:
    """Cores that the cgroup's CPU quota and the scheduler's mask leave to this process; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))  # cgroup v2, v1
    for quota_file, period_file in quotas:
        try:
            words = Path("/sys/fs/cgroup", quota_file).read_text().split()
            words += Path("/sys/fs/cgroup", period_file).read_text().split() if period_file else []
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such cgroup, or "max": no quota
            continue
        if quota > 0:
            cores = min(cores, math.ceil(quota / period))
    return max(cores, 1)


class Epoch:
    """One pass over some users' events, drawn from its own seed: a resumed run reads what the first would have."""

    def __init__(self, events: Events, users: npt.NDArray[np.int64], plan: Plan, seed: tuple[int, int]) -> None:
        self._events, self._users, self._plan, self._seed = events, users, plan, seed

    def __len__(self) -> int:
        return self._events.batch_count(self._users, streams=self._plan.streams, steps=self._plan.bptt)

    def __iter__(self) -> Iterator[Batch]:
        return self._events.batches(
            self._users,
            streams=self._plan.streams,
            steps=self._plan.bptt,
            rng=np.random.default_rng(self._seed),
        )


class Fitting(lightning.LightningModule):
    """One fit of a network to some users, as Lightning wants it: batches, step, optimiser."""

    def __init__(
        self,
        network: Network,
        events: Events,
        users: npt.NDArray[np.int64],
        plan: Plan,
        epochs: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.epochs = epochs
        self._data = events, users
        self._plan = plan
        self._learning_rate = learning_rate
        self._seed = seed
        self._state = torch.empty(0)
        self.losses: list[Tensor] = []

    def train_dataloader(self) -> Epoch:
        return self._epoch(self.current_epoch)

    def _epoch(self, number: int) -> Epoch:
        events, users = self._data
        return Epoch(events, users, self._plan, (self._seed, number))

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(self._seed * 1_000_003 + self.current_epoch)
        self._state = self.network.start(self._plan.streams)
        self.losses = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        x_TBH, state = self.network(batch.items, batch.before, batch.begins, self._state)
        self._state = state.detach()
        q_NH = self.network.query(x_TBH, batch.after).flatten(0, 1)
        loss = self.network.loss(q_NH, batch.rows, batch.seen, batch.targets, batch.weights)
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
            lr=self._learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        steps = self.epochs * len(self._epoch(0))
        warm_up = max(1, round(WARM_UP * steps))

        def rate(step: int) -> float:
            return min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Watch:
    """Says how far the training is, and ends it when asked to."""

    def __init__(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool], epochs: int) -> None:
        self._progress = progress
        self._should_stop = should_stop
        self._epochs = epochs
        self._began: tuple[float, float] | None = None
        self._said_at = -math.inf
        self.loss: float | None = None

    def stop_if_asked(self) -> None:
        """Raises Stopped."""
        if self._should_stop():
            raise Stopped

    def is_due(self) -> bool:
        """Has nothing been said for a second?"""
        return time.monotonic() - self._said_at >= 1.0

    def begin(self, done: float) -> None:
        """From here on, time and epochs done tell the speed: what an earlier attempt did does not count."""
        self._began = self._began or (time.monotonic(), done)

    def say(self, phase: Phase, done: float) -> None:
        """``done`` are the epochs finished, with the part of the one under way."""
        self._said_at = time.monotonic()
        eta_seconds = None
        if self._began is not None and done > self._began[1]:
            began_at, done_before = self._began
            eta_seconds = (self._said_at - began_at) / (done - done_before) * (self._epochs - done)
        self._progress(
            Progress(epoch=int(done), epochs=self._epochs, loss=self.loss, eta_seconds=eta_seconds, phase=phase)
        )


class AtEachBatch(lightning.Callback):
    """Lets the watch look at each batch, and keeps the checkpoint of the last epoch."""

    def __init__(self, watch: Watch, phase: Phase, epochs_before: int, checkpoint: Path) -> None:
        self._watch = watch
        self._phase = phase
        self._epochs_before = epochs_before
        self._checkpoint = checkpoint

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,  # noqa: ARG002 -- Lightning passes it
        batch_idx: int,
    ) -> None:
        self._watch.stop_if_asked()
        done = self._epochs_before + trainer.current_epoch + batch_idx / trainer.num_training_batches
        self._watch.begin(done)
        if self._watch.is_due():
            self._watch.loss = mean_loss(pl_module) or self._watch.loss
            self._watch.say(self._phase, done)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._watch.loss = mean_loss(pl_module)
        self._watch.say(self._phase, self._epochs_before + trainer.current_epoch + 1)
        written = self._checkpoint.with_suffix(".new")
        trainer.save_checkpoint(written)
        with written.open("rb") as file:
            os.fsync(file.fileno())
        written.replace(self._checkpoint)


def mean_loss(fitting: lightning.LightningModule) -> float | None:
    """Over the epoch so far; None before its first step."""
    losses = fitting.losses
    return float(torch.stack(losses).mean()) if isinstance(losses, list) and losses else None


def fit(fitting: Fitting, each_batch: AtEachBatch, checkpoint: Path) -> None:
    """Runs the epochs that the checkpoint does not have yet; afterwards the network has the weights of the last."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_epochs=fitting.epochs,
        gradient_clip_val=1.0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[each_batch],
        default_root_dir=checkpoint.parent,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    fitting.train()
    with warnings.catch_warnings():
        # Lightning asks torch for a class by its old name at every batch.
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\.utilities\._pytree")
        trainer.fit(fitting, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
