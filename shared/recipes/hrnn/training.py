"""Training of the HRNN recipes: fit, evaluate, go on with everybody, write. The network itself is network.py."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from shared.data.features import Column, Features
from shared.data.histories import Histories
from shared.data.training_data import TrainingData
from shared.recipes import artifact as artifacts
from shared.recipes.contract import Options, Progress, Recipe, Trained
from shared.recipes.evaluation import Split, evaluate, popularity
from shared.recipes.hrnn import BPTT, COLD_START_MAX_INTERACTIONS, candidates
from shared.recipes.hrnn.base import Base, leave
from shared.recipes.hrnn.candidates import Choose
from shared.recipes.hrnn.cold import cold_items
from shared.recipes.hrnn.fitting import AtEachBatch, Fitting, fit
from shared.recipes.hrnn.network import Form, Network
from shared.recipes.hrnn.plan import RETRAINING_EPOCHS, RETRAINING_RATE, Plan
from shared.recipes.hrnn.ranking import best_items, next_item_gain
from shared.recipes.hrnn.streams import Streams, bags
from shared.recipes.watch import Phase, Watch

RECENT = 2.0
"""With recency_mask the newest interaction counts so many times as much as the oldest."""

ESTRANGED = 0.1
"""Share of items that a training step takes for strangers, where items have features."""


class Learner:
    """A network and the streams it learns from. Not where results are kept."""

    def __init__(
        self,
        data: TrainingData,
        recipe: Recipe,
        parameters: Mapping[str, str],
        options: Options,
        events: int,
        watch: Watch | None = None,
        seed: int = 0,
        base: Base | None = None,
        new_E: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """``events`` is how many there are to train on, of those in ``data``. Sets torch's threads and seed.

        With ``base`` the network sets out from there, and learns of the events that are new alone.
        """
        histories = data.histories
        parameters = completed(parameters)
        self.data = data
        self.plan = Plan.of(parameters, events, len(histories.item_ids))
        self.options = options
        self.watch = watch or Watch(lambda _: None, lambda: False, self.plan.epochs)
        self._seed = seed
        torch.set_num_threads(self.plan.threads(options.threads))
        torch.manual_seed(seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.weights_E = event_weights(
            histories, recency_mask=parameters["recency_mask"] == "true", by_type_E=data.event_weights
        )
        self.streams = Streams(
            data,
            self.weights_E if new_E is None else self.weights_E * new_E,
            self.watch.stop_if_asked,
            self.device,
            repeats=(base is not None and base.form.repeats) or None,
        )
        self.items = items = known_of_items(data) if recipe.cold_items else data.items
        self._bags = bags(items, self.device)
        form = Form(
            items=len(histories.item_ids),
            hidden=self.plan.hidden,
            cell=options.cell if base is None else base.form.cell,
            event_types=self.streams.event_types,
            repeats=self.streams.repeats,
            item_features=items.size if items else 0,
            user_features=data.users.size if data.users else 0,
            context_features=data.contexts.size if data.contexts else 0,
        )
        limited = COLD_START_MAX_INTERACTIONS.name in parameters
        self.cold_I = cold_items(data, parameters, time.time()) if limited else None
        self.network = Network(form).to(self.device)
        if base is not None:
            base.hand_on(self.network, data, items, self._bags)
        self.network.fast = options.precision != "32-true" and multiplies_bfloat16(self.device)

    def fit(
        self,
        users: npt.NDArray[np.int64],
        validation: npt.NDArray[np.int64],
        checkpoint: Path,
        logs: Path | None = None,
    ) -> int:
        """Trains from the start; returns the epochs that the weights have behind them. Raises Stopped."""
        counts_I = popularity(self.data.histories, users)
        with torch.no_grad():
            self.network.bias[:-1] = torch.from_numpy(np.log((counts_I + 1) / (counts_I + 1).sum()))
        choose = self.chooser(counts_I)
        fitting = self._fitting(users, choose, self.plan.epochs, self.plan.learning_rate, self._seed)

        def validate() -> float:
            network = self.network.folded().to(self.device)
            return next_item_gain(network, self.streams, validation, self.plan.bptt, self.watch.stop_if_asked)

        watching = self.each_batch("training", 0, checkpoint, validate if len(validation) else None)
        return fit(fitting, watching, checkpoint, self.options, logs)

    def go_on(
        self,
        users: npt.NDArray[np.int64],
        epochs_before: int,
        checkpoint: Path,
        *,
        phase: Phase = "retraining",
        knowing: npt.NDArray[np.int64] | None = None,
    ) -> int:
        """Some more epochs with these users; returns how many. Raises Stopped.

        ``knowing`` are the users whose items are no strangers, where these are not all.
        """
        choose = self.chooser(popularity(self.data.histories, users if knowing is None else knowing))
        rate = RETRAINING_RATE * self.plan.learning_rate
        fitting = self._fitting(users, choose, RETRAINING_EPOCHS, rate, self._seed + 1)
        return fit(fitting, self.each_batch(phase, epochs_before, checkpoint), checkpoint, self.options)

    def recommend(self, events_Q: npt.NDArray[np.int64], count: int, *, unseen: bool = False) -> npt.NDArray[np.int64]:
        """``shared.recipes.evaluation.Recommend``; ``unseen`` leaves out what a user has had."""
        return best_items(
            self.served().to(self.device),
            self.streams,
            events_Q,
            count,
            self.watch.stop_if_asked,
            unseen=unseen,
        )

    def served(self) -> Network:
        """The network as it answers: items' features in their vectors, and the objective, if any, in their biases."""
        network = self.network.folded()
        if self.data.rewards is not None:
            with torch.no_grad():
                network.bias[:-1] += torch.from_numpy(self.data.rewards.log_factors()).to(network.bias)
        return network

    def chooser(self, counts_I: npt.NDArray[np.int64]) -> Choose:
        """Of candidates, for training on so many interactions with each item; tells the network who is a stranger."""
        counts = torch.from_numpy(counts_I).to(self.device)
        if self._bags is not None:
            strangers_I = counts == 0
            if self.cold_I is not None:
                strangers_I |= torch.from_numpy(self.cold_I).to(self.device)
            self.network.know(self._bags, strangers_I, ESTRANGED)
        return candidates.chooser(counts, only_taken=self._bags is not None)

    def _fitting(
        self, users: npt.NDArray[np.int64], choose: Choose, epochs: int, learning_rate: float, seed: int
    ) -> Fitting:
        return Fitting(
            self.network,
            self.streams,
            users,
            self.plan,
            choose,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            compiled=self.options.compile,
        )

    def each_batch(
        self, phase: Phase, before: int, checkpoint: Path, validate: Callable[[], float] | None = None
    ) -> AtEachBatch:
        """What looks on while ``phase`` goes; benchmarks put their own here."""
        return AtEachBatch(self.watch, phase, before, checkpoint, self.options.checkpoint_seconds, validate)


class Run(NamedTuple):
    """A training, but for the writing."""

    learner: Learner
    metrics: dict[str, float]
    baseline: dict[str, float]
    epochs: int
    test_users: int


def train(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    *,
    workspace: Path,
    artifact: Path,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
    options: Options,
    seed: int = 0,
    base: Path | None = None,
) -> Trained:
    """``shared.recipes.contract.Train``, in mode UPDATE too. Raises ArtifactError where ``base`` cannot be read."""
    started = time.monotonic()
    watch = Watch(progress, should_stop, epochs=0)
    checkpoints = workspace / fingerprint(data, recipe, parameters, options, seed, base)
    checkpoints.mkdir(parents=True, exist_ok=True)
    if base is None:
        run = in_full(data, recipe, parameters, options, watch, seed, checkpoints, artifact / "logs")
    else:
        before = Base.open(base)
        parameters = before.parameters
        run = updated(data, recipe, before, options, watch, seed, checkpoints)
    learner, histories = run.learner, data.histories
    watch.say("writing", run.epochs)
    trained = Trained(
        metrics=run.metrics,
        baseline=run.baseline,
        epochs=run.epochs,
        seconds=round(time.monotonic() - started, 3),
    )
    network = learner.served()
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, artifact / artifacts.WEIGHTS
    )
    if base is None and "UPDATE" in recipe.training_modes:
        leave(learner.network, learner.items, artifact)
    counts_I = np.bincount(histories.items, learner.weights_E, minlength=len(histories.item_ids)).astype(np.float64)
    shares_I = counts_I / counts_I.sum()
    artifacts.write(
        artifact,
        data,
        recipe=recipe.name,
        parameters=parameters,
        form=dataclasses.asdict(network.form),
        popularity=shares_I if data.rewards is None else data.rewards.weigh(shares_I),
        report={
            **dataclasses.asdict(trained),
            "users": len(histories.user_ids),
            "test_users": run.test_users,
            "interactions": len(histories.items),
        },
    )
    return trained


def in_full(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    options: Options,
    watch: Watch,
    seed: int,
    checkpoints: Path,
    logs: Path,
) -> Run:
    """Learns from nothing: fit, evaluate, go on with everybody."""
    histories = data.histories
    split = Split.of(histories, seed)
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    events = int(histories.lengths[split.train].sum())
    watch.expect(Plan.of(completed(parameters), events, len(histories.item_ids)).epochs + more)
    watch.say("training", 0)
    learner = Learner(data, recipe, parameters, options, events, watch, seed)
    epochs = learner.fit(split.train, split.validation, checkpoints / "training.ckpt", logs)
    watch.expect(epochs + more)
    watch.say("evaluating", epochs)
    metrics, baseline = evaluated(learner, split)
    if options.retrain_on_all_users:
        everybody = np.concatenate([split.train, split.validation, split.test])
        epochs += learner.go_on(np.sort(everybody), epochs, checkpoints / "retraining.ckpt")
    return Run(learner, metrics, baseline, epochs, len(split.test))


def updated(
    data: TrainingData, recipe: Recipe, base: Base, options: Options, watch: Watch, seed: int, checkpoints: Path
) -> Run:
    """Goes on from ``base`` with the events that are new, tested by the newest of these: the others it knows.

    Where they are of fewer than two users who can be tested, nothing is learnt and the metrics are those of the base;
    but new items and users have their place.
    """
    histories = data.histories
    more = RETRAINING_EPOCHS if options.retrain_on_all_users else 0
    watch.expect(RETRAINING_EPOCHS + more)
    watch.say("training", 0)
    new_E = base.news(histories)
    new_U = np.add.reduceat(new_E, histories.offsets[:-1], dtype=np.int64)
    learner = Learner(data, recipe, base.parameters, options, int(new_E.sum()), watch, seed, base, new_E)
    knowing = np.flatnonzero(histories.in_training)
    with_news = np.flatnonzero(histories.in_training & (new_U > 0))
    newest_U = trailing(new_E, histories.offsets)
    testable_U = histories.in_training & (newest_U > 0)
    if (testable_U & (histories.lengths >= 2)).sum() < 2:
        learner.chooser(popularity(histories, knowing))
        return Run(learner, base.metrics, base.baseline, 0, 0)
    split = Split.of(dataclasses.replace(histories, in_training=testable_U), seed)
    learner.plan = learner.plan.with_rows(int(histories.lengths[with_news].sum()) / int(new_E.sum()))
    users = np.setdiff1d(with_news, split.test)
    epochs = learner.go_on(users, 0, checkpoints / "training.ckpt", phase="training", knowing=knowing)
    watch.say("evaluating", epochs)
    metrics, baseline = evaluated(learner, split, newest_U)
    if options.retrain_on_all_users:
        epochs += learner.go_on(with_news, epochs, checkpoints / "retraining.ckpt", knowing=knowing)
    return Run(learner, metrics, baseline, epochs, len(split.test))


def trailing(new_E: npt.NDArray[np.bool_], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[U]: how many of each user's newest events are new, without one between them that is not."""
    old_E = np.where(new_E, -1, np.arange(len(new_E)))
    last_old_U = np.maximum.reduceat(old_E, offsets[:-1])
    newest_U: npt.NDArray[np.int64] = offsets[1:] - np.maximum(last_old_U + 1, offsets[:-1])
    return newest_U


def evaluated(
    learner: Learner, split: Split, newest_U: npt.NDArray[np.int64] | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    data = learner.data
    return evaluate(
        learner.recommend,
        data.histories,
        split,
        rewards_I=None if data.rewards is None else data.rewards.values,
        weights_E=data.event_weights,
        newest_U=newest_U,
    )


def completed(parameters: Mapping[str, str]) -> dict[str, str]:
    """Those of the network, of whatever recipe: what a recipe does not let be set is User-Personalization's default."""
    recency = parameters.get("apply_recency_bias", "true")
    return {"hidden_dimension": "149", "bptt": BPTT.default, "recency_mask": recency, **parameters}


def known_of_items(data: TrainingData) -> Features | None:
    """Features of the items. Where none are known, but some items were never taken, these still must be strangers to
    the network, and not be learnt to be unwanted: then it is one feature, which no item has."""
    items = len(data.histories.item_ids)
    if data.items is not None or np.bincount(data.histories.items, minlength=items).all():
        return data.items
    return Features(
        offsets=np.zeros(items + 1, np.int64),
        values=np.zeros(0, np.int32),
        weights=np.zeros(0, np.float32),
        columns=(Column(name="", kind="categorical", first=0, vocabulary=("",)),),
    )


def multiplies_bfloat16(device: torch.device) -> bool:
    """Has the device instructions for it? Without them it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def event_weights(
    histories: Histories, *, recency_mask: bool, by_type_E: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """float32[E], 1 on average: what each event counts as a target and in the popularity shown to strangers.

    0 for users outside the percentiles; ``by_type_E`` is what else an event counts. With recency_mask the weight grows
    from the oldest event to the newest, to RECENT times the oldest's, by the event's place among all events in time
    and not by its age, so that a gap or a burst in the data changes nothing.
    """
    weights_E = np.repeat(histories.in_training, histories.lengths).astype(np.float32)
    if by_type_E is not None:
        weights_E *= by_type_E
    if recency_mask:
        # A thousand quantiles of a sample place 25 million events without sorting them.
        sample = histories.timestamps[:: max(1, len(histories.timestamps) // 1_000_000)]
        quantiles = np.unique(np.quantile(sample, np.linspace(0, 1, 1001)))
        weights_E *= RECENT ** np.interp(histories.timestamps, quantiles, np.linspace(0, 1, len(quantiles)))
    weights_E /= weights_E[weights_E > 0].mean()
    return weights_E


def fingerprint(
    data: TrainingData,
    recipe: Recipe,
    parameters: Mapping[str, str],
    options: Options,
    seed: int,
    base: Path | None = None,
) -> str:
    """Names a run by its input: a checkpoint of other data or other parameters is never taken up."""
    histories = data.histories
    said = (recipe.name, sorted(parameters.items()), options.cell, seed, artifacts.FORMAT, base and base.name)
    digest = hashlib.sha256(repr(said).encode())
    digest.update("\0".join(histories.item_ids).encode())
    arrays = [getattr(histories, name) for name in ("offsets", "items", "timestamps", "event_types", "in_training")]
    for features in (data.items, data.users, data.contexts):
        arrays += [] if features is None else [features.offsets, features.values, features.weights]
    if data.rewards is not None:
        arrays.append(data.rewards.log_factors())
    if data.event_weights is not None:
        arrays.append(data.event_weights)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
