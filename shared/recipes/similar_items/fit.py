"""One fit of item vectors to some users: steps, when to stop, checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from shared.data.arrays.histories import Histories
from shared.recipes.hrnn.candidates import create_candidate_sampler
from shared.recipes.hrnn.plan import FULL_SOFTMAX_ITEMS
from shared.recipes.hrnn.types import Candidates, FeatureBags
from shared.recipes.similar_items.neighbor_sampling import NeighborSampler, SampledPairs
from shared.recipes.similar_items.network import SimilarItemsNetwork, compute_losses

SEEDS_A_STEP = 256
TARGETS = 64
"""Targets drawn near each seed in a step over all items; a quarter where the candidates are sampled."""
LEARNING_RATE = 1e-2
EPOCHS = 40
"""In an epoch each item is a seed once."""
WITHOUT_VALIDATION = 15
PATIENCE = 6
RETRAINING_EPOCHS = 3
RETRAINING_RATE = 1 / 3
COLD = 5
"""AWS calls an item with fewer interactions cold."""
ESTRANGED = 0.1
"""The share of items that a step treats as cold, where items have features."""
VALIDATION_SEEDS = 2000


class VectorFit:
    """One fit of a network to the pairs of items with nearby events."""

    def __init__(
        self,
        network: SimilarItemsNetwork,
        bags: FeatureBags | None,
        histories: Histories,
        users: npt.NDArray[np.int64],
        seed: int,
    ) -> None:
        self.network = network
        self._bags = bags
        self._device = network.stranger_bias.device
        self._near = NeighborSampler(histories, users)
        self._seed = seed
        counts = torch.from_numpy(self._near.counts).to(self._device)
        self.known_I = counts >= (COLD if bags is not None else 1)
        self._choose = create_candidate_sampler(counts, only_taken=True)
        self._all = self._get_all_vectors(np.arange(len(counts)))
        self._seeds = np.flatnonzero(self._near.counts)
        self._sampled = len(self._seeds) > FULL_SOFTMAX_ITEMS

    def start_training(self) -> None:
        """Set the biases to the popularity of the items, so that training starts from there."""
        counts_I = self._near.counts
        log_share_I = np.log((counts_I + 1) / (counts_I + 1).sum())
        with torch.no_grad():
            self.network.bias.weight.copy_(torch.from_numpy(log_share_I)[:, None])
            self.network.stranger_bias.fill_(float(log_share_I[self._seeds].mean()))

    def run_epoch(
        self, number: int, optimisers: list[torch.optim.Optimizer], on_step: Callable[[float], None]
    ) -> float:
        """Train on every item with an event as a seed, once; return the mean loss.

        ``on_step`` is called with the share of the epoch that is done.
        """
        rng = np.random.default_rng((self._seed, number))
        torch.manual_seed(int(rng.integers(2**62)))
        order = rng.permutation(self._seeds)
        at_once = max(1, min(SEEDS_A_STEP, len(order) // 8))
        total = weight = 0.0
        for begin in range(0, len(order), at_once):
            on_step(begin / len(order))
            seeds_R = order[begin : begin + at_once]
            drawn = self._near.draw_pairs(seeds_R, TARGETS // 4 if self._sampled else TARGETS, rng)
            known_I = self.known_I.float()
            if self._bags is not None:
                known_I *= torch.rand(len(known_I), device=self._device) >= ESTRANGED
            losses_R, counted_R = self._compute_losses(seeds_R, drawn, known_I)
            # Frequent items weigh more, but by the square root, so that rare items are learnt too.
            weights_R = torch.from_numpy(self._near.counts[seeds_R] ** 0.5).float().to(self._device) * counted_R
            loss = (losses_R * weights_R).sum() / weights_R.sum().clamp(min=1e-9)
            for optimiser in optimisers:
                optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            total += float(loss.detach() * weights_R.sum())
            weight += float(weights_R.sum())
        return total / max(weight, 1e-9)

    @torch.no_grad()
    def compute_validation_loss(self, near: NeighborSampler, on_step: Callable[[], None]) -> float:
        """Return the mean loss on these users' histories over all trained items; each call draws the same pairs."""
        rng = np.random.default_rng(self._seed)
        seeds = rng.permutation(np.flatnonzero(near.counts * self._near.counts))[:VALIDATION_SEEDS]
        total = weight = 0.0
        for begin in range(0, len(seeds), SEEDS_A_STEP):
            on_step()
            seeds_R = seeds[begin : begin + SEEDS_A_STEP]
            drawn = near.draw_pairs(seeds_R, TARGETS, rng)
            losses_R, counted_R = self._compute_losses(
                seeds_R, drawn, self.known_I.float(), self._get_all_vectors(self._seeds)
            )
            weights_R = torch.from_numpy(near.counts[seeds_R]).to(self._device) * counted_R
            total += float((losses_R * weights_R).sum())
            weight += float(weights_R.sum())
        return total / max(weight, 1e-9)

    def _compute_losses(
        self,
        seeds_R: npt.NDArray[np.int64],
        drawn: SampledPairs,
        known_I: Tensor,
        among: Candidates | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (loss_R, counted_R) over ``among`` or sampled candidates; counted_R is 1 where a target counts."""
        seeds = torch.from_numpy(seeds_R).to(self._device)
        targets_RT = torch.from_numpy(drawn.items).to(self._device)
        counts_RT = torch.from_numpy(drawn.counts).to(self._device)
        candidates = among or self._choose(targets_RT[counts_RT]) or self._all
        places_RT = torch.searchsorted(candidates.ids, targets_RT).clamp_(max=len(candidates.ids) - 1)
        counts_RT = counts_RT & (candidates.ids[places_RT] == targets_RT)
        own_RC = candidates.ids == seeds[:, None]
        x_RD, x_CD = (self._get_vectors(ids, known_I) for ids in (seeds, candidates.ids))
        losses_R = compute_losses(x_RD, x_CD, candidates.log_share, own_RC, places_RT, counts_RT.float())
        return losses_R, counts_RT.any(1).float()

    def _get_vectors(self, ids_C: Tensor, known_I: Tensor) -> Tensor:
        vectors: Tensor = self.network(
            ids_C, known_I[ids_C], None if self._bags is None else self._bags.select_rows(ids_C)
        )
        return vectors

    def _get_all_vectors(self, items: npt.NDArray[np.int64]) -> Candidates:
        """Return these items as candidates, none of them sampled."""
        ids = torch.from_numpy(items).to(self._device)
        return Candidates(ids, torch.zeros(len(ids), device=self._device))

    @torch.no_grad()
    def fold_vectors(self, on_step: Callable[[], None]) -> Tensor:
        """Return x_ID of all items, with b_I as the last column. ``on_step`` is called before each block."""
        known_I = self.known_I.float()
        blocks = []
        for ids_C in torch.split(self._all.ids, FULL_SOFTMAX_ITEMS):
            on_step()
            blocks.append(self._get_vectors(ids_C, known_I).cpu())
        return torch.cat(blocks)


class EpochSchedule:
    """The epochs of a fit: continues from the checkpoint, stops by the validation loss, keeps the best weights."""

    def __init__(
        self, fit: VectorFit, epochs: int, learning_rate: float, checkpoint: Path, every_seconds: float
    ) -> None:
        self._fit, self._epochs, self._checkpoint, self._every = fit, epochs, checkpoint, every_seconds
        network = fit.network
        self._optimisers: list[torch.optim.Optimizer] = [
            torch.optim.SparseAdam([network.ids.weight, network.bias.weight], lr=learning_rate),
            torch.optim.Adam(
                [network.stranger_bias, *(network.features.parameters() if network.features else ())], lr=learning_rate
            ),
        ]
        self._best: dict[str, Tensor] = {}
        self._least, self._best_epoch, self._done = math.inf, 0, 0
        self.loss: float | None = None

    def run_epochs(
        self,
        validation: NeighborSampler | None,
        on_step: Callable[[float, float | None], None],
        on_epoch: Callable[[int], None] = lambda _: None,
    ) -> int:
        """Run the epochs that the checkpoint lacks; return how many epochs the final weights were trained for.

        ``on_step`` is called with the epochs done, as a fraction, and the loss; ``on_epoch`` with the number done,
        while the network has the weights of that epoch.
        """
        network = self._fit.network
        if self._checkpoint.exists():
            self._load_checkpoint()
        saved_at = time.monotonic()
        while self._done < self._epochs and self._done - self._best_epoch < PATIENCE:
            done = self._done

            def report_share(share: float, done: int = done) -> None:
                on_step(done + share, self.loss)

            self.loss = self._fit.run_epoch(done, self._optimisers, report_share)
            self._done += 1
            if validation is None:
                self._best_epoch = self._done
            else:
                loss = self._fit.compute_validation_loss(validation, lambda: on_step(self._done, self.loss))
                if loss < self._least:
                    self._least, self._best_epoch = loss, self._done
                    self._best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            on_epoch(self._done)
            if time.monotonic() - saved_at >= self._every:
                self._save_checkpoint()
                saved_at = time.monotonic()
        self._save_checkpoint()
        if self._best:
            network.load_state_dict(self._best)
        return self._best_epoch

    def _save_checkpoint(self) -> None:
        tensors = {f"network.{name}": tensor for name, tensor in self._fit.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        steps: dict[str, float] = {}
        for number, optimiser in enumerate(self._optimisers):
            for parameter, values in optimiser.state_dict()["state"].items():
                for name, value in values.items():
                    if name == "step":
                        steps[f"{number}.{parameter}"] = float(value)
                    else:
                        tensors[f"optimiser.{number}.{parameter}.{name}"] = value
        state = {
            "least": self._least,
            "best_epoch": self._best_epoch,
            "done": self._done,
            "loss": self.loss,
            "steps": steps,
        }
        draft = self._checkpoint.with_suffix(".draft")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, {"told": json.dumps(state)})
        draft.rename(self._checkpoint)

    def _load_checkpoint(self) -> None:
        with safe_open(self._checkpoint, framework="pt") as file:
            saved = json.loads(file.metadata()["told"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping

        def select_under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        self._fit.network.load_state_dict(select_under("network."))
        self._best = select_under("best.")
        self._least, self._best_epoch, self._done = saved["least"], saved["best_epoch"], saved["done"]
        self.loss = saved["loss"]
        for number, optimiser in enumerate(self._optimisers):
            state: dict[int, dict[str, Tensor | int]] = {}
            for name, tensor in select_under(f"optimiser.{number}.").items():
                parameter, _, moment = name.partition(".")
                state.setdefault(int(parameter), {})[moment] = tensor
            for place, moments in state.items():
                step = saved["steps"][f"{number}.{place}"]
                moments["step"] = torch.tensor(step) if isinstance(optimiser, torch.optim.Adam) else int(step)
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
