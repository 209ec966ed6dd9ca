"""Our model, as the benchmarks use it: the one file here that knows the trainer's insides.

Under h10 and loo everybody is trained on, so the trainer's own split and evaluation stand aside: the network is fitted
to the task's users as ``training.train`` fits it to its own: a few of them tell when to stop, then it goes on with all.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from benchmarks.quality import data, losses
from benchmarks.quality.protocols import Query, Task
from shared import recipes
from shared.data.arrays.features import Features
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import DatasetFiles, TrainingData, TrainingSources, prepare_training_data
from shared.recipes.declaration import Recipe
from shared.recipes.evaluation import count_interactions, split_validation
from shared.recipes.hrnn import sequence_packing
from shared.recipes.hrnn.batch_ranking import NextItemMetrics, find_best_items
from shared.recipes.hrnn.lightning_module import EpochWindows, FitCallback
from shared.recipes.hrnn.network import LAYER_TYPES
from shared.recipes.hrnn.prediction_targets import compute_target_weights, gather_batch
from shared.recipes.hrnn.trainer import HrnnTrainer, TrainingTask
from shared.recipes.progress import Phase, ProgressReporter
from shared.recipes.training_api import TrainingContext, TrainingOptions, TrainingStopped

AT_ONCE = 512
"""Queries whose rankings of all items are held at once."""

NOWHERE = Path("/dev/null")


class NotOffered(Exception):
    """This release has no such cell or recipe; the message is the sentence for the table."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained. ``parameters`` are hyperparameters beside the recipe's defaults, as AWS names them."""

    cell: str = "linear"
    recipe: str = "aws-hrnn"
    parameters: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    epochs: int | None = None
    """None: as many as the recipe takes."""
    loss: str = "softmax"

    @property
    def declared(self) -> Recipe:
        """Raises NotOffered."""
        if self.recipe not in recipes.RECIPES:
            raise NotOffered(f"{self.recipe} is not offered by this release")
        return recipes.RECIPES[self.recipe]

    @property
    def values(self) -> dict[str, str]:
        return self.declared.resolve_parameters({"algorithmHyperParameters": dict(self.parameters)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    answers: Callable[[Sequence[Query]], Iterator[npt.NDArray[Any]]]
    seconds: float
    cpu_seconds: float
    epochs: int


OnEpoch = Callable[[int, float, Callable[[Sequence[Query]], Iterator[npt.NDArray[Any]]]], bool]
"""(epochs done, CPU seconds of training so far, the answers as they would be now) -> go on?"""


def train(
    task: Task, setting: Setting, seed: int, *, items_csv: Path | None = None, on_epoch: OnEpoch | None = None
) -> Model:
    """Fits to the users of the task. ``items_csv`` is the Items dataset, for recipes that read it.

    The time of ``on_epoch`` does not count. Raises NotOffered.
    """
    spent = _Spent()

    def each_epoch(epochs: int) -> bool:
        if on_epoch is None:
            return True
        with spent.paused():
            return on_epoch(epochs, spent.cpu, learner.answers)

    with spent.counting(), tempfile.TemporaryDirectory() as scratch:
        features = None if items_csv is None else item_features(items_csv, task.training.item_ids)
        everybody, stopping = task.users, task.stopping
        if stopping is None:
            users, stopping = split_validation(everybody, np.random.default_rng(seed))
        else:
            users = np.setdiff1d(everybody, stopping)
        events = int(task.training.lengths[users].sum())
        learner = _Learner(TrainingData(histories=task.training, items=features), setting, events, seed)
        learner.on_epoch = each_epoch
        epochs = learner.fit(users, stopping, Path(scratch) / "training.ckpt")
        if task.stopping is None and len(stopping):
            epochs += learner.continue_training(everybody, epochs, Path(scratch) / "retraining.ckpt")
    return Model(answers=learner.answers, seconds=spent.wall, cpu_seconds=spent.cpu, epochs=epochs)


def run_steps(histories: Histories, setting: Setting, on_step: Callable[[int], bool]) -> HrnnTrainer:
    """Trains on everybody as ``train`` does, until ``on_step``, which gets the targets of each step, says False."""
    # More epochs than anybody will wait for.
    learner = _learner(histories, replace(setting, epochs=10_000))
    learner.on_step = on_step
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(TrainingStopped):
        learner.fit(np.flatnonzero(histories.lengths), np.zeros(0, np.int64), Path(scratch) / "training.ckpt")
    return learner


def load_steps(histories: Histories, setting: Setting) -> Iterator[int]:
    """The data path alone: the targets of each step of one epoch after the other, gathered as training gathers them."""
    learner = _learner(histories, setting)
    users = np.flatnonzero(histories.lengths)
    for number in itertools.count():
        for window in EpochWindows(learner.streams, users, learner.plan, (0, number)):
            gather_batch(learner.network, learner.streams, window)
            yield targets_in(learner, window)


def targets_in(learner: HrnnTrainer, window: sequence_packing.Window) -> int:
    """How many events of a window count in training."""
    return int(compute_target_weights(learner.streams, window.to(learner.streams.device)).count_nonzero())


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step does at least."""

    events: int
    """In a step."""
    flops: float
    """Of one event, forward and backward: two per weight of a matrix forward and twice that backward. Sums over
    elements, the recurrence and the softmax itself are not counted."""
    formula: str
    bytes: float
    """Of a step: gradients written and read, weights and both moments of AdamW read and written, in float32."""


def work(learner: HrnnTrainer) -> Work:
    network, hidden = learner.network, learner.plan.hidden
    cell = sum(
        parameter.numel()
        for layer in network.layers
        for name, parameter in layer.named_parameters()
        if parameter.ndim == 2 and not name.startswith("time")
    )
    events = learner.plan.streams * learner.plan.bptt
    histories = learner.data.histories
    choose = learner.create_sampler(count_interactions(histories, np.arange(len(histories.user_ids))))
    chosen = choose(learner.streams.items_E[:events].long())
    candidates = len(histories.item_ids) if chosen is None else len(chosen.ids)
    return Work(
        events=events,
        flops=6.0 * (cell + candidates * (hidden + 1)),
        formula=f"6 x ({cell:,} weights of the cell + {candidates:,} items x {hidden + 1})",
        bytes=32.0 * sum(parameter.numel() for parameter in network.parameters()),
    )


def item_features(items_csv: Path, item_ids: Sequence[str]) -> Features:
    """The rows of ``items_csv`` as the import and the trainer would have them, in the order of ``item_ids``.

    Numbers are numeric, TITLE is plain text and not trained on, all else is categories.
    """
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        folder = Path(scratch)
        items = f"read_csv('{items_csv}', header = true)"
        described = connection.execute(f"DESCRIBE SELECT * FROM {items}").fetchall()
        fields: list[dict[str, Any]] = []
        for name, kind, *_ in described:
            if name in ("ITEM_ID", "TITLE"):
                fields.append({"name": name, "type": "string"})
            elif kind in ("BIGINT", "DOUBLE"):
                fields.append({"name": name, "type": ["null", "double"]})
            else:
                fields.append({"name": name, "type": ["null", "string"], "categorical": True})
        select = ", ".join(f"{name}::{'VARCHAR' if 'categorical' in each or name in ('ITEM_ID', 'TITLE') else 'DOUBLE'}"
                           f" AS {name}" for each, (name, *_) in zip(fields, described, strict=True))  # fmt: skip
        connection.execute(f"COPY (SELECT {select} FROM {items}) TO '{folder}/items.parquet' (FORMAT parquet)")
        # The features of items do not hang on who took them: anybody did.
        connection.execute(
            f"""COPY (SELECT 'u' || (i % 50) AS USER_ID, ITEM_ID, i AS TIMESTAMP
                      FROM (SELECT ITEM_ID, row_number() OVER () AS i FROM '{folder}/items.parquet', range(100)))
                TO '{folder}/interactions.parquet' (FORMAT parquet)"""
        )
        who = [{"name": name, "type": "string"} for name in ("USER_ID", "ITEM_ID")]
        prepared = prepare_training_data(
            folder / "data",
            TrainingSources(
                interactions=DatasetFiles(
                    files=[folder / "interactions.parquet"],
                    schema=_schema("Interactions", [*who, {"name": "TIMESTAMP", "type": "long"}]),
                ),
                items=DatasetFiles(files=[folder / "items.parquet"], schema=_schema("Items", fields)),
                metadata=True,
                all_items=True,
            ),
            memory_mb=512,
        )
        assert prepared.items is not None
        rows = {item_id: row for row, item_id in enumerate(prepared.histories.item_ids)}
        found = prepared.items
        parts = [
            slice(*found.offsets[rows[item_id] : rows[item_id] + 2]) if item_id in rows else slice(0, 0)
            for item_id in item_ids
        ]
        return Features(
            offsets=np.cumsum([0, *(part.stop - part.start for part in parts)], dtype=np.int64),
            values=np.concatenate([found.values[part] for part in parts]),
            weights=np.concatenate([found.weights[part] for part in parts]),
            columns=found.columns,
        )


def _schema(name: str, fields: list[dict[str, Any]]) -> str:
    return json.dumps(
        {
            "type": "record",
            "name": name,
            "namespace": "com.amazonaws.personalize.schema",
            "fields": fields,
            "version": "1.0",
        }
    )


def _learner(histories: Histories, setting: Setting) -> _Learner:
    return _Learner(TrainingData(histories=histories), setting, len(histories.items), 0)


class _Learner(HrnnTrainer):
    """Told of each step and each epoch; either ends the training by saying False."""

    on_step: Callable[[int], bool] = staticmethod(lambda _: True)
    on_epoch: Callable[[int], bool] = staticmethod(lambda _: True)

    def __init__(self, given: TrainingData, setting: Setting, events: int, seed: int) -> None:
        if setting.cell not in LAYER_TYPES:
            raise NotOffered(f"the {setting.cell} cell is not offered by this release")
        context = TrainingContext(
            workspace=NOWHERE,
            artifact=NOWHERE,
            report_progress=lambda _: None,
            should_stop=lambda: False,
            options=TrainingOptions(threads=setting.threads, cell=setting.cell, checkpoint_seconds=1e9),  # type: ignore[arg-type]
            seed=seed,
        )
        silent = ProgressReporter.create_silent()
        super().__init__(TrainingTask(given, setting.declared, setting.values, context, silent, NOWHERE), events)
        if setting.epochs is not None:
            self.plan = replace(self.plan, epochs=setting.epochs)
        losses.replace(self.network, setting.loss)

    def answers(self, queries: Sequence[Query]) -> Iterator[npt.NDArray[Any]]:
        """Scores of all items, a query after the other: minus the place in the ranking."""
        network = self.build_served_network().to(self.device)
        for begin in range(0, len(queries), AT_ONCE):
            asked = queries[begin : begin + AT_ONCE]
            # Each query is a user whose next event, of any item, stands at the moment of the request.
            histories = data.histories_of(
                np.repeat(np.arange(len(asked)), [len(query.items) + 1 for query in asked]),
                np.concatenate([np.append(query.items, 0) for query in asked]),
                np.concatenate([np.append(query.timestamps, int(query.now)) for query in asked]),
                user_ids=[str(number) for number in range(len(asked))],
                item_ids=self.data.histories.item_ids,
            )
            read = sequence_packing.Streams(
                TrainingData(histories=histories),
                np.ones(len(histories.items), np.float32),
                device=self.device,
                repeats=self.streams.repeats,
            )
            places = histories.offsets[1:] - 1
            for ranking in find_best_items(network, read, places, len(histories.item_ids), blend=self.blend):
                scores_I = np.empty(len(ranking))
                scores_I[ranking] = -np.arange(len(ranking))
                yield scores_I

    def create_callback(
        self, phase: Phase, before: int, checkpoint: Path, validate: Callable[[], NextItemMetrics] | None = None
    ) -> FitCallback:
        return _Counting(self, phase, before, checkpoint, validate)


class _Counting(FitCallback):
    def __init__(
        self,
        learner: _Learner,
        phase: Phase,
        before: int,
        checkpoint: Path,
        validate: Callable[[], NextItemMetrics] | None,
    ) -> None:
        super().__init__(
            learner.reporter, phase, before, checkpoint, learner.context.options.checkpoint_seconds, validate
        )
        self._learner = learner
        self._before = before

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if not self._learner.on_step(targets_in(self._learner, batch)):
            raise TrainingStopped

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not self._learner.on_epoch(self._before + trainer.current_epoch + 1):
            raise TrainingStopped


class _Spent:
    """Wall and CPU seconds of this process within ``counting``, less those within ``paused``."""

    def __init__(self) -> None:
        self._wall = self._cpu = 0.0
        self._counting = False

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        self._turn(on=True)
        yield
        self._turn(on=False)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self._turn(on=False)
        yield
        self._turn(on=True)

    def _turn(self, *, on: bool) -> None:
        sign = -1 if on else 1
        self._wall += sign * time.perf_counter()
        self._cpu += sign * time.process_time()
        self._counting = on

    @property
    def wall(self) -> float:
        return self._wall + self._counting * time.perf_counter()

    @property
    def cpu(self) -> float:
        return self._cpu + self._counting * time.process_time()
