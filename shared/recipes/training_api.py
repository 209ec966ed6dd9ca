"""The training side of a recipe: the calls of a training worker, the reports and the results. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from shared.recipes.declaration import Recipe
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.data.training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """The progress of a training. ``loss`` is None until there is one; ``eta_seconds`` is for the whole training."""

    epoch: int
    epochs: int
    loss: float | None
    eta_seconds: float | None
    phase: Literal["training", "evaluating", "retraining", "writing"]
    ndcg: float | None = None
    """The NDCG of the item taken next, averaged over the validation users' events, after the epoch that has just ended.
    Greater is better; None within an epoch, and where there are no validation users."""

    def as_message(self) -> dict[str, Any]:
        """Return the members of a ``Progressed`` message, in which the NDCG is called ``gain``."""
        members = asdict(self)
        members["gain"] = members.pop("ndcg")
        return members


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a training. ``metrics`` has AWS's keys, rounded to 4 decimals; ``baseline`` is popularity's."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    epochs: int
    seconds: float
    report: dict[str, Any] = field(default_factory=dict)
    """``evaluation.compute_report`` for the same users and requests; {} for recipes that AWS measures differently.

    It has two views. ``raw`` is AWS's: every item may be recommended, and counts. In ``unseen``, which is None where no
    user took a new item, the items that the user had before are removed from the lists and from the items to find.
    Each view has the number of ``users`` that count, and three of AWS's metrics of the ``model``, of plain
    ``popularity``, and of ``personal_frequency``: the user's own items by how often the user took them, then the
    popular items.
    """


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The result of a trial: the metrics of one choice of hyperparameters among the validation users."""

    metrics: dict[str, float]
    """AWS's keys, from ``evaluation.measure_next_item``: comparable between trials, not with ``Trained``."""
    errors: dict[str, float]
    """The standard error of each metric; 0 where it is not known."""
    epochs: int
    seconds: float


class TrainingStopped(Exception):
    """The training ended because its worker asked it to; its checkpoints remain."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The operator's choices for every training of a worker, not the customer's.

    Each field holds the setting ``training_<field>`` of ``shared.settings``, or where there is none the setting
    ``<field>``; the meanings stand there.
    """

    threads: int = 0
    retrain_on_all_users: bool = True
    cell: Literal["linear", "gru"] = "linear"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False
    logger: Literal["none", "csv", "tensorboard"] = "none"
    checkpoint_seconds: float = 60.0
    strategy: Literal["auto", "ddp"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    master: str | None = None
    sentence_encoder: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Fill every field from the setting of its name."""
        return cls(**{each.name: getattr(settings, get_setting_name(each.name)) for each in fields(cls)})


def get_setting_name(option: str) -> str:
    """Return the name of the field of ``Settings`` that fills this field of ``TrainingOptions``."""
    prefixed = f"training_{option}"
    return prefixed if prefixed in Settings.__dataclass_fields__ else option


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """Where one training, or one trial, works, and how it talks with its worker.

    The same seed, threads and data give the same run.
    """

    workspace: Path
    """A folder that outlives an attempt: checkpoints lie there, and a second call continues from the last one."""
    artifact: Path
    """An empty folder that ``train`` fills. ``validate`` writes nothing there, and the folder need not exist."""
    report_progress: Callable[[TrainingProgress], object]
    """To be called after each epoch at least, and about once a second."""
    should_stop: Callable[[], bool]
    """Once this returns true, ``train`` and ``validate`` raise TrainingStopped within 2 s."""
    options: TrainingOptions = TrainingOptions()
    gpus: tuple[int, ...] = ()
    """Numbers of the CUDA devices granted to this training; () on a machine without, and where torch may choose."""
    seed: int = 0
    base: Path | None = None
    """In mode UPDATE the artifact of the version trained in mode FULL from which to continue; else None."""

    @property
    def processes(self) -> int:
        """The processes on each node that train together, one for each GPU where there are GPUs."""
        return (len(self.gpus) or self.options.devices or 1) if self.options.strategy == "ddp" else 1

    @property
    def nodes(self) -> int:
        """The machines that train together, this one being the first; each runs ``processes`` processes."""
        return self.options.num_nodes if self.options.strategy == "ddp" else 1

    @property
    def torch_device(self) -> str:
        """torch's name of the first GPU to train on, on a machine that has any."""
        return f"cuda:{self.gpus[0] if self.gpus else 0}"


class Train(Protocol):
    """``training.train`` of every recipe folder: train a model, evaluate it and write it to ``context.artifact``.

    ``parameters`` holds a value for each of the recipe's hyperparameters. Only a recipe with UPDATE among its training
    modes is given a ``context.base``; it raises ArtifactError where it cannot read that.

    Raises TooLittleData, and TrainingStopped.
    """

    def __call__(
        self, data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext
    ) -> Trained: ...


class Validate(Protocol):
    """``training.validate`` of the recipes that HPO or AutoML may try: run one trial.

    The users are split as ``Train`` splits them by the same seed; the test users are not looked at. ``Train`` is given
    the workspace and seed of the trial that wins, and continues from its checkpoints. Raises TooLittleData, and
    TrainingStopped.
    """

    def __call__(
        self, data: TrainingData, recipe: Recipe, parameters: Mapping[str, str], context: TrainingContext
    ) -> Validated: ...
