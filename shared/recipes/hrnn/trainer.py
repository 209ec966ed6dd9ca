"""The trainer of a network: the fit, further epochs on other users, and the recommendations that evaluation asks for.

training.py decides on which users it trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from shared.data.arrays.features import FeatureColumn, Features
from shared.data.arrays.histories import Histories
from shared.data.arrays.npy_files import expand_ranges
from shared.data.training.training_data import TrainingData
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import count_interactions
from shared.recipes.hrnn import BPTT, COLD_START_MAX_INTERACTIONS, candidates
from shared.recipes.hrnn.batch_ranking import NextItemMetrics, find_best_items, fit_blend, predict_next_item
from shared.recipes.hrnn.candidates import CandidateSampler
from shared.recipes.hrnn.cold_items import find_cold_items
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counter_blend import CounterBlend
from shared.recipes.hrnn.counters import BlendWeights, Counters
from shared.recipes.hrnn.fit import run_fit
from shared.recipes.hrnn.lightning_module import FitCallback, HrnnModule
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS, RETRAINING_RATE, TrainingPlan
from shared.recipes.hrnn.sequence_packing import Streams, load_bags
from shared.recipes.hrnn.warm_start import WarmStart
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.ranking_metrics import compute_next_item_metrics
from shared.recipes.training_api import TrainingContext

RECENT = 2.0
"""With recency_mask the newest interaction has so many times the weight of the oldest."""

ID_DROPOUT = 0.1
"""The share of items that a training step treats as cold, if items have features."""


class TrainingTask(NamedTuple):
    """The inputs of a training, or a trial, of an HRNN recipe."""

    data: TrainingData
    recipe: Recipe
    parameters: Mapping[str, str]
    context: TrainingContext
    reporter: ProgressReporter
    checkpoints: Path
    """The folder of this run's checkpoints. Runs on other data, parameters or seeds have other folders."""


class HrnnTrainer:
    """A network, its data as streams, and the training of the one on the other. It writes checkpoints, no results."""

    def __init__(
        self,
        task: TrainingTask,
        events: int,
        base: WarmStart | None = None,
        new_E: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """``events`` is the number of the data's events to train on. Sets torch's threads and seed.

        With ``base`` the network starts from its weights, and only the new events are targets.
        """
        data, context = task.data, task.context
        histories = data.histories
        parameters = complete_parameters(task.parameters)
        self.data = data
        self.plan = TrainingPlan.from_data(parameters, events, len(histories.item_ids))
        self.context = context
        self.reporter = task.reporter
        self._cold_items = task.recipe.training.cold_items
        torch.set_num_threads(self.plan.count_threads(context.options.threads))
        torch.manual_seed(context.seed)
        self.device = torch.device(context.torch_device if torch.cuda.is_available() else "cpu")
        self.weights_E = compute_event_weights(
            histories, recency_mask=parameters["recency_mask"] == "true", by_type_E=data.event_weights
        )
        self.streams = Streams(
            data,
            self.weights_E if new_E is None else self.weights_E * new_E,
            self.reporter.stop_if_asked,
            self.device,
            # A few epochs on new events would not train the repeat head of a base that has none.
            repeats=None if base is None else base.config.repeats,
        )
        self.items = items = get_item_features(data) if self._cold_items else data.items
        self._bags = load_bags(items, self.device)
        config = HrnnConfig(
            items=len(histories.item_ids),
            hidden=self.plan.hidden,
            cell=context.options.cell if base is None else base.config.cell,
            longest=HrnnConfig.longest if base is None else base.config.longest,
            instead=HrnnConfig.instead if base is None else base.config.instead,
            event_types=self.streams.event_types,
            repeats=self.streams.repeats,
            item_features=items.size if items else 0,
            user_features=data.users.size if data.users else 0,
            context_features=data.contexts.size if data.contexts else 0,
        )
        limited = COLD_START_MAX_INTERACTIONS.name in parameters
        self.cold_I = find_cold_items(data, parameters, time.time()) if limited else None
        self.network = HrnnNetwork(config).to(self.device)
        self.blend: CounterBlend | None = None
        if base is not None and base.config.leaning:
            knowing = np.flatnonzero(histories.in_training)
            self.blend = CounterBlend(
                Counters.count_events(histories, knowing, self.reporter.stop_if_asked),
                BlendWeights.from_values(base.config.leaning),
            )
        if base is not None:
            base.transfer_weights(self.network, data, items, self._bags)
        self.network.fast = context.options.precision != "32-true" and has_bfloat16_units(self.device)

    def fit(
        self,
        users: npt.NDArray[np.int64],
        validation: npt.NDArray[np.int64],
        checkpoint: Path,
        logs: Path | None = None,
    ) -> int:
        """Train from the start; return the epochs that the weights were trained for. Raises TrainingStopped."""
        counts_I = count_interactions(self.data.histories, users)
        self.streams.prepare_network(self.network, users, self.context.seed)
        module = self._create_module(users, counts_I, self.plan.epochs, self.plan.learning_rate, self.context.seed)

        def validate() -> NextItemMetrics:
            return self._predict_next_item(self.network.fold_features(), validation)

        has_validation = self._has_weighted_events(validation)
        callback = self.create_callback("training", 0, checkpoint, validate if has_validation else None)
        epochs = run_fit(module, callback, checkpoint, self.context, logs)
        if has_validation:
            self._fit_blend(users, validation)
        return epochs

    def _fit_blend(self, users: npt.NDArray[np.int64], validation: npt.NDArray[np.int64]) -> None:
        on_block = self.reporter.stop_if_asked
        counters = Counters.count_events(self.data.histories, users, on_block)
        # Cold items have no counts: a blend would favour the other items, so their logits stay the network's own.
        fixed = 2 if self._cold_items and self._bags is not None else 0
        network = self.network.fold_features().to(self.device)
        self.blend = CounterBlend(counters, fit_blend(network, self.streams, validation, counters, on_block, fixed))

    def measure_next_items(self, users: npt.NDArray[np.int64]) -> tuple[dict[str, float], dict[str, float]]:
        """Return ``shared.recipes.evaluation``'s metrics of next items and their errors, reading each history once."""
        histories = self.data.histories
        found = self._predict_next_item(self.build_served_network(), users, lists=True)
        user_Q = np.searchsorted(histories.offsets, found.events, side="right") - 1
        return compute_next_item_metrics(found.ranks, user_Q, shown=found.shown, items=len(histories.item_ids))

    def _predict_next_item(
        self, network: HrnnNetwork, users: npt.NDArray[np.int64], *, lists: bool = False
    ) -> NextItemMetrics:
        on_block = self.reporter.stop_if_asked
        return predict_next_item(network.to(self.device), self.streams, users, on_block, lists=lists, blend=self.blend)

    def _has_weighted_events(self, users: npt.NDArray[np.int64]) -> bool:
        """Say if any event of these users has a weight. Without one they cannot tell the best epoch."""
        histories = self.data.histories
        events = expand_ranges(histories.offsets[users], histories.lengths[users])
        return bool(self.streams.weights_E[torch.from_numpy(events).to(self.device)].any())

    def continue_training(
        self,
        users: npt.NDArray[np.int64],
        epochs_before: int,
        checkpoint: Path,
        *,
        phase: Phase = "retraining",
        knowing: npt.NDArray[np.int64] | None = None,
        tested: npt.NDArray[np.int64] | None = None,
    ) -> int:
        """Train RETRAINING_EPOCHS more epochs on these users; return their number. Raises TrainingStopped.

        ``knowing`` are the users whose items are not cold, if they are more than these. The counters leave out the
        users ``tested``, who are evaluated afterwards.
        """
        knowing = users if knowing is None else knowing
        counts_I = count_interactions(self.data.histories, knowing)
        rate = RETRAINING_RATE * self.plan.learning_rate
        module = self._create_module(users, counts_I, RETRAINING_EPOCHS, rate, self.context.seed + 1)
        epochs = run_fit(module, self.create_callback(phase, epochs_before, checkpoint), checkpoint, self.context)
        if self.blend is not None:
            counted = knowing if tested is None else np.setdiff1d(knowing, tested)
            counters = Counters.count_events(self.data.histories, counted, self.reporter.stop_if_asked)
            self.blend = CounterBlend(counters, self.blend.weights)
        return epochs

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, *, unseen: bool = False) -> npt.NDArray[np.int64]:
        """Return recommendations, as an evaluation asks for them; ``unseen`` leaves out the items of histories."""
        return find_best_items(
            self.build_served_network().to(self.device),
            self.streams,
            events_Q,
            count,
            self.reporter.stop_if_asked,
            unseen=unseen,
            blend=self.blend,
        )

    def build_served_network(self) -> HrnnNetwork:
        """Return the network to serve: item features folded in, the blend applied, the objective in the biases."""
        network = self.network.fold_features()
        if self.blend is not None:
            network = network.apply_blend(self.blend.weights)
        if self.data.rewards is not None:
            factors_I = torch.from_numpy(self.data.rewards.compute_log_factors()).to(network.bias)
            with torch.no_grad():
                network.bias[:-1] += factors_I
                if network.again is not None:
                    network.again.bias.weight += factors_I[:, None]
        return network

    def build_final_network(self) -> HrnnNetwork:
        """Return the network to write for the runtime: with the fashion at the end of the data in its biases."""
        network = self.build_served_network()
        if self.blend is not None:
            in_fashion_I = np.array(self.blend.weights.fashion, np.float32) @ self.blend.counters.get_fashion(np.inf)
            with torch.no_grad():
                network.bias[:-1] += torch.from_numpy(in_fashion_I).to(network.bias)
        return network

    def create_sampler(self, counts_I: npt.NDArray[np.int64]) -> CandidateSampler:
        """Create the sampler for training on so many interactions with each item, and set the network's cold items.

        A recipe that recommends only items with interactions has no cold items, and no id dropout: it would cost
        quality and gain nothing.
        """
        counts = torch.from_numpy(counts_I).to(self.device)
        if self._bags is not None:
            cold_I = counts == 0 if self._cold_items else torch.zeros_like(counts, dtype=torch.bool)
            if self.cold_I is not None:
                cold_I |= torch.from_numpy(self.cold_I).to(self.device)
            self.network.set_item_features(self._bags, cold_I, ID_DROPOUT if self._cold_items else 0.0)
        return candidates.create_candidate_sampler(counts, only_taken=self._bags is not None and self._cold_items)

    def _create_module(
        self,
        users: npt.NDArray[np.int64],
        counts_I: npt.NDArray[np.int64],
        epochs: int,
        learning_rate: float,
        seed: int,
    ) -> HrnnModule:
        return HrnnModule(
            self.network,
            self.streams,
            users,
            self.plan,
            self.create_sampler(counts_I),
            torch.from_numpy(counts_I),
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            compiled=self.context.options.compile,
        )

    def create_callback(
        self, phase: Phase, before: int, checkpoint: Path, validate: Callable[[], NextItemMetrics] | None = None
    ) -> FitCallback:
        """Create the callback of a phase. Benchmarks override this."""
        return FitCallback(self.reporter, phase, before, checkpoint, self.context.options.checkpoint_seconds, validate)


def complete_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """Add the network's hyperparameters that a recipe does not have, with User-Personalization's defaults."""
    recency = parameters.get("apply_recency_bias", "true")
    return {"hidden_dimension": "149", "bptt": BPTT.default, "recency_mask": recency, **parameters}


def get_item_features(data: TrainingData) -> Features | None:
    """Return the features of the items.

    Without any, but with items that have no interactions, these must be cold items and not be learnt as unwanted. The
    result is then a single feature that no item has.
    """
    items = len(data.histories.item_ids)
    if data.items is not None or np.bincount(data.histories.items, minlength=items).all():
        return data.items
    return Features(
        offsets=np.zeros(items + 1, np.int64),
        values=np.zeros(0, np.int32),
        weights=np.zeros(0, np.float32),
        columns=(FeatureColumn(name="", kind="categorical", first=0, vocabulary=("",)),),
    )


def has_bfloat16_units(device: torch.device) -> bool:
    """Say if the device has instructions for bfloat16, which is slower than float32 without."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def compute_event_weights(
    histories: Histories, *, recency_mask: bool, by_type_E: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """float32[E], 1 on average: return each event's weight as a target and in the popularity shown to unknown users.

    It is 0 for users outside the percentiles. ``by_type_E`` are factors. With recency_mask the weight grows from the
    oldest event to the newest, to RECENT times the oldest's, by the event's rank in time and not by its age, so that a
    gap or a burst in the data changes nothing.
    """
    weights_E = np.repeat(histories.in_training, histories.lengths).astype(np.float32)
    if by_type_E is not None:
        weights_E *= by_type_E
    if recency_mask:
        # A thousand quantiles of a sample rank 25 million events without sorting them.
        sample = histories.timestamps[:: max(1, len(histories.timestamps) // 1_000_000)]
        quantiles = np.unique(np.quantile(sample, np.linspace(0, 1, 1001)))
        weights_E *= RECENT ** np.interp(histories.timestamps, quantiles, np.linspace(0, 1, len(quantiles)))
    weights_E /= weights_E[weights_E > 0].mean()
    return weights_E
