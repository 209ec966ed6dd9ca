"""The training side of a recipe: how a training worker calls it, and what it reports and returns. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.recipes.declaration import Recipe

if TYPE_CHECKING:
    from shared.data.training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is. ``loss`` is None until there is one; ``eta_seconds`` is for all of it."""

    epoch: int
    epochs: int
    loss: float | None
    eta_seconds: float | None
    phase: Literal["training", "evaluating", "retraining", "writing"]
    gain: float | None = None
    """After the epoch that has just ended, where there are validation users: the mean normalised discounted gain of
    the item taken next, every event counting alike. It is to be made great."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """``metrics`` has AWS's keys for the recipe, rounded to 4 decimals; ``baseline`` what plain popularity reaches."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    epochs: int
    seconds: float
    report: dict[str, Any] = field(default_factory=dict)
    """``evaluation.report`` of the same users and moments; {} of recipes that AWS measures in another way.

    It has two views. ``raw`` is AWS's: anything may be answered, and is wanted. In ``unseen``, None where nobody took
    anything new, what a user has had before is neither. Each tells how many ``users`` count, and three of AWS's metrics
    of the ``model``, of plain ``popularity``, and of ``personal_frequency``: first the user's own items, by how often
    they were taken, then what is popular.
    """


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What one choice of hyperparameters comes to among the validation users. No model is kept."""

    metrics: dict[str, float]
    """AWS's keys, to be compared with one another and not with those of ``Trained``: ``evaluation.foretold``."""
    errors: dict[str, float]
    """The standard error of each; 0 where there is none to tell."""
    epochs: int
    seconds: float


class Stopped(Exception):
    """Training ended because it was asked to; its checkpoints remain."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the operator of a training worker decides, not the customer: the settings of that name."""

    threads: int = 0
    """0: as many as the cgroup grants."""
    retrain_on_all_users: bool = True
    cell: Literal["linear", "gru"] = "linear"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """auto: bf16-mixed on a GPU that has it, else 32-true, where a recipe may multiply in bfloat16."""
    compile: bool = False
    logger: Literal["none", "csv", "tensorboard"] = "none"
    """Where other than none, a folder ``logs`` stands in the artifact."""
    checkpoint_seconds: float = 60.0
    devices: tuple[int, ...] = ()
    """Numbers of the CUDA devices to train on, the first where one is enough; (): those that torch finds."""
    processes: int = 1
    """On this machine, that train together where a recipe can: with GPUs, one for each."""
    nodes: int = 1
    """Machines with as many processes each, this one being the first."""
    master: str = ""
    """host:port at which the processes of several nodes meet."""

    @property
    def gpu(self) -> str:
        """torch's name of the one to train on, on a machine that has any."""
        return f"cuda:{self.devices[0] if self.devices else 0}"


class Train(Protocol):
    """``training.train`` of every recipe folder.

    ``workspace`` outlives an attempt: checkpoints lie there, and a second call continues from the last one.
    ``artifact`` is an empty folder to fill. ``progress`` is called at least each epoch and about each second.
    The same seed and threads give the same run.

    Where UPDATE is among the recipe's training modes there is ``base: Path | None = None`` as well: the artifact of a
    version trained in mode FULL, from which to go on with what is new since. It raises ArtifactError.

    Raises TooLittleData, and Stopped within 2 s of ``should_stop()`` turning true.
    """

    def __call__(
        self,
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
    ) -> Trained: ...


class Validate(Protocol):
    """``training.validate`` of the recipes that HPO or AutoML may try: one trial.

    The users are split as ``Train`` splits them by the same seed; the test users are not looked at. ``workspace`` and
    ``seed`` are those that ``Train`` will be given with the parameters that win: what is learnt here is not learnt
    again. Raises TooLittleData, and Stopped within 2 s of ``should_stop()`` turning true.
    """

    def __call__(
        self,
        data: TrainingData,
        recipe: Recipe,
        parameters: Mapping[str, str],
        *,
        workspace: Path,
        progress: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        options: Options,
        seed: int = 0,
    ) -> Validated: ...
