"""Trains item vectors: the fit with validation, the epochs after it, and the recommendations for the evaluation.

The choice of users for each of these is in training.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.baskets import Baskets
from shared.recipes.evaluation import Split
from shared.recipes.hrnn.batch_ranking import LOGITS_AT_ONCE
from shared.recipes.hrnn.plan import FULL_SOFTMAX_ITEMS, MULTIPLY_ADDS_A_THREAD
from shared.recipes.hrnn.sequence_packing import load_bags
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.similar_items.fit import (
    EPOCHS,
    LEARNING_RATE,
    RETRAINING_EPOCHS,
    RETRAINING_RATE,
    SEEDS_A_STEP,
    WITHOUT_VALIDATION,
    EpochSchedule,
    VectorFit,
)
from shared.recipes.similar_items.neighbor_sampling import NeighborSampler
from shared.recipes.similar_items.network import SimilarItemsConfig, SimilarItemsNetwork
from shared.recipes.training_api import TrainingContext, TrainingOptions
from shared.system.cpu_quota import available_cpus


class VectorTrainer:
    """A network and the histories that it learns from. It writes checkpoints, but no artifact."""

    def __init__(
        self,
        data: TrainingData,
        parameters: Mapping[str, str],
        context: TrainingContext,
        reporter: ProgressReporter,
        checkpoints: Path,
    ) -> None:
        """Create the network, and set torch's threads and seed."""
        self._histories = data.histories
        self._context, self._reporter, self._checkpoints = context, reporter, checkpoints
        self._discount = float(parameters["popularity_discount_factor"])
        torch.manual_seed(context.seed)
        self._device = torch.device(context.torch_device if torch.cuda.is_available() else "cpu")
        self._features = load_bags(data.items, self._device)
        self.form = SimilarItemsConfig(
            items=len(data.histories.item_ids),
            id_hidden=int(parameters["item_id_hidden_dim"]),
            metadata_hidden=int(parameters["item_metadata_hidden_dim"]) if self._features else 0,
            features=data.items.size if self._features and data.items else 0,
        )
        torch.set_num_threads(choose_threads(self.form, context.options))
        self._network = SimilarItemsNetwork(self.form).to(self._device)

    def fit(self, split: Split, more: int = 0, on_epoch: Callable[[int], None] = lambda _: None) -> int:
        """Learn from the training users for as long as the loss of the validation users falls.

        Return how many epochs the weights were trained for. ``more`` is the number of epochs that will follow, for the
        progress; ``on_epoch`` is called with the number of epochs done.
        """
        several = has_several_takes(self._histories, split.validation)
        planned = EPOCHS if several else WITHOUT_VALIDATION
        self._reporter.expect_epochs(planned + more)
        self._reporter.report("training", 0)
        self._fit = VectorFit(self._network, self._features, self._histories, split.train, self._context.seed)
        self._fit.start_training()
        validation = NeighborSampler(self._histories, split.validation) if several else None
        return self._run_epochs("training", 0, planned, LEARNING_RATE, validation, on_epoch)

    def continue_fit(self, users: npt.NDArray[np.int64], epochs: int) -> int:
        """Learn from all these users for some epochs after the first ``epochs``; return how many."""
        self._fit = VectorFit(self._network, self._features, self._histories, users, self._context.seed + 1)
        return self._run_epochs("retraining", epochs, RETRAINING_EPOCHS, RETRAINING_RATE * LEARNING_RATE)

    def _run_epochs(
        self,
        phase: Phase,
        before: int,
        epochs: int,
        rate: float,
        validation: NeighborSampler | None = None,
        on_epoch: Callable[[int], None] = lambda _: None,
    ) -> int:
        checkpoint = self._checkpoints / f"{phase}.safetensors"
        course = EpochSchedule(self._fit, epochs, rate, checkpoint, self._context.options.checkpoint_seconds)

        def on_step(done: float, loss: float | None) -> None:
            self._reporter.loss = loss
            self._reporter.start_clock(before + done)
            self._reporter.report_if_due(phase, before + done)

        return course.run_epochs(validation, on_step, on_epoch)

    @torch.inference_mode()
    def find_similar(
        self, events_Q: npt.NDArray[np.int64], count: int, on_block: Callable[[], None]
    ) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``: the items similar to the item taken last, which is hidden.

        The ranking is that of ``ItemVectors.compute_scores``, but for many items at once and on the device.
        """
        vectors = self.get_vectors().to(self._device)
        x_ID, b_I = vectors[:, :-1].contiguous(), (1 - self._discount) * vectors[:, -1]
        items_N, place_Q = np.unique(self._histories.items[events_Q - 1].astype(np.int64), return_inverse=True)
        best_NK = np.zeros((len(items_N), min(count, self.form.items - 1)), np.int64)
        at_once = max(1, min(256, LOGITS_AT_ONCE // self.form.items))
        for begin in range(0, len(items_N), at_once):
            on_block()
            block = slice(begin, begin + at_once)
            items_B = torch.from_numpy(items_N[block]).to(self._device)
            logits_BI = functional.linear(x_ID[items_B], x_ID, b_I).scatter_(1, items_B[:, None], -torch.inf)
            best_NK[block] = logits_BI.topk(best_NK.shape[1]).indices.cpu().numpy()
        return best_NK[place_Q]

    def get_vectors(self) -> Tensor:
        """[I, D + 1] Return x_I and b_I as ``ItemVectors`` takes them, in main memory."""
        return self._fit.fold_vectors(self._reporter.stop_if_asked)


def has_several_takes(histories: Histories, users: npt.NDArray[np.int64]) -> bool:
    """Return whether any of these users took two items; otherwise they cannot show which epoch is the best."""
    return bool((np.diff(Baskets.collect(histories, users).offsets) > 1).any())


def choose_threads(form: SimilarItemsConfig, options: TrainingOptions) -> int:
    """Return how many of the granted threads a step of this size keeps busy, by the rule of the HRNN."""
    step = SEEDS_A_STEP * (form.id_hidden + form.metadata_hidden) * min(form.items, FULL_SOFTMAX_ITEMS)
    return max(1, min(options.threads or available_cpus(), step // MULTIPLY_ADDS_A_THREAD))
