"""What every recipe must say about itself and be able to do: declarations, the trainer's call, the scorer's.

Not a recipe, and free of torch: the API imports this to answer DescribeRecipe and to check CreateSolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from shared.data.training.training_data import TrainingData


@dataclass(frozen=True, kw_only=True)
class HyperParameter:
    """One value that CreateSolution may set. All values are strings on the wire, ``"true"`` in lower case."""

    name: str
    kind: Literal["algorithm", "featurization"]
    type: Literal["integer", "float", "categorical", "string"]
    """A categorical is compared ignoring case and kept in lower case; a string as AWS spells it."""
    default: str
    minimum: float | None = None
    maximum: float | None = None
    positive: bool = False
    """Any number above 0: AWS gives no other bound."""
    accepted_maximum: float | None = None
    """AWS's own samples pass values above its documented maximum; up to here they are accepted."""
    choices: tuple[str, ...] = ()
    tunable: bool = False
    only_tuned: bool = False
    """HPO alone sets it, within a range that names both bounds; without HPO it has its default."""
    also: tuple[str, ...] = ()
    """Other names under which AWS takes it, and prints it."""

    def check(self, value: str) -> str:
        """Returns the value as it is kept; raises ValueError with a sentence that says what is allowed."""
        if self.type in ("categorical", "string"):
            spelt = value.lower() if self.type == "categorical" else value
            if spelt not in self.choices:
                raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}; it is {value!r}.")
            return spelt
        self._number(value)
        return value

    def _number(self, value: Any) -> float:
        try:
            number = float(int(str(value)) if self.type == "integer" else float(value))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{self.name} must be of type {self.type}; it is {value!r}.") from None
        least = -math.inf if self.minimum is None else self.minimum
        most = self.accepted_maximum or (math.inf if self.maximum is None else self.maximum)
        if not (least <= number <= most and math.isfinite(number) and (number > 0 or not self.positive)):
            raise ValueError(f"{self.name} must {self._range(least, most)}; it is {value}.")
        return number

    def _range(self, least: float, most: float) -> str:
        if most < math.inf:
            return f"lie in [{least:g}, {most:g}]"
        return "be above 0" if self.minimum is None else f"be a number of at least {least:g}"

    def check_range(self, wanted: Mapping[str, Any]) -> None:
        """``wanted`` is one entry of hpoConfig.algorithmHyperParameterRanges; raises ValueError."""
        if not self.tunable:
            raise ValueError(f"{self.name} is not tunable.")
        if self.type == "categorical":
            for value in wanted.get("values") or ():
                self.check(value)
            return
        if self.only_tuned and not {"minValue", "maxValue"} <= wanted.keys():
            raise ValueError(f"{self.name} needs both minValue and maxValue.")
        low = self._number(wanted.get("minValue", self.minimum))
        high = self._number(wanted.get("maxValue", self.maximum))
        if low > high:
            raise ValueError(f"{self.name} has minValue {low:g} above maxValue {high:g}.")


RANGE_LISTS: Mapping[str, str] = {
    "integer": "integerHyperParameterRanges",
    "float": "continuousHyperParameterRanges",
    "categorical": "categoricalHyperParameterRanges",
}
"""Type of a hyperparameter -> the list that holds its range, in HPOConfig and in DescribeAlgorithm alike."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe as AWS names and documents it, and the folder that trains and serves it."""

    name: str
    description: str
    recipe_type: str
    algorithm: str
    feature_transformation: str | None
    module: str
    """Package with ``training`` and ``scoring``; these import torch, the package itself does not."""
    hyperparameters: tuple[HyperParameter, ...] = ()
    inert: tuple[HyperParameter, ...] = ()
    """What AWS takes and prints beyond the recipe's own table: checked and echoed, and without effect."""
    metadata: bool = False
    """Does it learn from the Items and Users datasets and from the contextual columns of the interactions?"""
    cold_items: bool = False
    """Is its catalogue all of the Items dataset, or only the items that somebody interacted with?"""
    training_modes: tuple[str, ...] = ("FULL",)
    datasets: tuple[str, ...] = ("INTERACTIONS",)
    """The datasets without which it cannot train."""
    interactions: str = "INTERACTIONS"
    """The dataset whose events it learns from, in bulk and live."""
    catalogue: str = "ITEMS"
    """The dataset that describes what it recommends: items, or actions, which stand for items in all that follows."""
    needs: tuple[Literal["userId", "itemId"], ...] = ("userId",)
    """The members of a runtime request without which it has nothing to say."""
    shows_scores: bool = False
    """Do its answers tell scores? AWS tells those of User-Personalization, Personalized-Ranking and HRNN."""
    metadata_unasked: bool = False
    """Does it answer metadata also where enableMetadataWithRecommendations does not say so?"""
    reasons: bool = False
    """Do its answers tell why an item is in them? Its scorer is then ``Explaining``."""
    live: bool = False
    """Does what a user did since the training change what is answered? Filters always know it."""
    impressions: bool = False
    """Does it learn from what was shown beside what was taken?"""
    explores: bool = False
    """Does a campaign, recommender or batch job with it take an itemExplorationConfig?"""
    objective: bool = False
    """Does it take an optimizationObjective?"""
    events_config: bool = False
    """Does it take an eventsConfig?"""
    domain: str | None = None
    """VIDEO_ON_DEMAND or ECOMMERCE: a use case, for CreateRecommender alone. Nobody sets its hyperparameters."""
    event_type: str | None = None
    """The type of the events that a use case trains on, whatever their case; None: all types."""
    hides: str | None = None
    """A use case never shows what the user has events of this type with, whatever its case: watched, or bought."""
    created: datetime = field(default=datetime(2019, 6, 10, tzinfo=UTC))
    """The day Personalize became generally available: recipes are as old as the service."""

    @property
    def arn(self) -> str:
        return f"arn:aws:personalize:::recipe/{self.name}"

    @property
    def algorithm_arn(self) -> str:
        return f"arn:aws:personalize:::algorithm/{self.algorithm}"

    @property
    def feature_transformation_arn(self) -> str | None:
        name = self.feature_transformation
        return name and f"arn:aws:personalize:::feature-transformation/{name}"

    @property
    def default_hyperparameters(self) -> dict[str, str]:
        """DescribeAlgorithm's ``defaultHyperParameters``."""
        return {p.name: p.default for p in self.hyperparameters if p.kind == "algorithm"}

    @property
    def default_parameters(self) -> dict[str, str]:
        """DescribeFeatureTransformation's ``defaultParameters``."""
        return {p.name: p.default for p in self.hyperparameters if p.kind == "featurization"}

    @property
    def default_ranges(self) -> dict[str, list[dict[str, Any]]]:
        """DescribeAlgorithm's ``defaultHyperParameterRanges``: three lists, any of them may be empty."""
        ranges: dict[str, list[dict[str, Any]]] = {list_name: [] for list_name in RANGE_LISTS.values()}
        for p in self.hyperparameters:
            if p.kind != "algorithm":
                continue
            entry: dict[str, Any] = {"name": p.name, "isTunable": p.tunable}
            if p.type == "categorical":
                entry["values"] = list(p.choices)
            else:
                number = int if p.type == "integer" else float
                entry |= {
                    bound: number(value)
                    for bound, value in (("minValue", p.minimum), ("maxValue", p.maximum))
                    if value is not None
                }
            ranges[RANGE_LISTS[p.type]].append(entry)
        return ranges

    def settings(self, solution_config: Mapping[str, Any] | None) -> dict[str, str]:
        """The value of every hyperparameter: the defaults overlaid by what a SolutionConfig sets.

        Either map may hold either kind, since AWS's own guide puts the percentiles in both. Ranges in
        hpoConfig are checked with the same table. Raises ValueError with a sentence for the user: an unknown
        name, two names of one hyperparameter, a value of the wrong type or out of range, a range that is empty, not
        tunable or misplaced.
        """
        config = solution_config or {}
        values = {p.name: p.default for p in self.hyperparameters} | self._given(config)
        for name, low in values.items():
            high = values.get(f"max_{name.removeprefix('min_')}")
            if name.startswith("min_") and high is not None and float(low) > float(high):
                raise ValueError(f"{name} {low} is above the maximum, {high}.")
        ranges = (config.get("hpoConfig") or {}).get("algorithmHyperParameterRanges") or {}
        for type_, list_name in RANGE_LISTS.items():
            for wanted in ranges.get(list_name) or ():
                # DescribeSolution prints ranges with a prefix, and clients send back what they have read.
                parameter = self._parameter(wanted.get("name", "").rpartition(".")[2])
                if parameter.tunable and parameter.type != type_:
                    raise ValueError(f"{parameter.name} belongs in {RANGE_LISTS[parameter.type]}.")
                parameter.check_range(wanted)
        return values

    def _given(self, config: Mapping[str, Any]) -> dict[str, str]:
        """What the two maps set, by the names of this recipe's table. Raises ValueError."""
        values: dict[str, str] = {}
        names: dict[str, str] = {}
        for map_name in ("algorithmHyperParameters", "featureTransformationParameters"):
            for name, value in (config.get(map_name) or {}).items():
                parameter = self._parameter(name)
                if parameter.only_tuned:
                    raise ValueError(f"{name} is set by HPO alone: give its range in hpoConfig.")
                if (other := names.setdefault(parameter.name, name)) != name:
                    raise ValueError(f"{other} and {name} are two names of one hyperparameter: give one of them.")
                checked = replace(parameter, name=name).check(value)  # a refusal says the name that was sent
                if parameter not in self.inert:
                    values[parameter.name] = checked
        return values

    def _parameter(self, name: str) -> HyperParameter:
        for parameter in (*self.hyperparameters, *self.inert):
            if name in (parameter.name, *parameter.also):
                return parameter
        offered = ", ".join(sorted(p.name for p in self.hyperparameters)) or "none"
        raise ValueError(f"{name} is not a hyperparameter of {self.name}, which has: {offered}.")


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


class ArtifactError(Exception):
    """A model's files are missing, cut short or of another format; the message names the file."""


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


class Past(NamedTuple):
    """An interaction of a user, as a scorer reads it."""

    item_id: str
    timestamp: float
    """Seconds since the epoch."""
    event_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """How far a request leaves the beaten path: the itemExplorationConfig of what is asked, as numbers."""

    weight: float
    """From 0, none, to 1."""
    age_cut_off_days: float
    """Items are new up to this age, counted back from the newest interaction trained on."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a scorer is asked. Each recipe reads its own part; all but ``now`` may be missing."""

    now: float
    """Seconds since the epoch."""
    user_id: str = ""
    history: Sequence[Past] = ()
    """What the user did, oldest first; it may hold items that the model does not know."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Values of contextual columns at the moment of the request; unknown columns are passed over."""
    item_id: str | None = None
    """The item to which others are related; it may be unknown to the model."""
    exploration: Exploration | None = None
    """None: none."""
    anew: bool = False
    """Is only what is new to the user wanted? Where a filter hides what was had: it knows the newest of that alone."""


class Explained(NamedTuple):
    """Scores, and what tells why an item stands high in them."""

    scores: npt.NDArray[np.float32]
    """As ``Scorer.scores`` answers them."""
    unexplored: npt.NDArray[np.float32]
    """float32[I]: what they would be without exploration; the very same object where there is none."""
    popular: bool
    """Is nothing known of who asks, so that they are shares of what is popular and no relevance?"""
    rough: Rough | None = None
    """What tells how far both scores may be off, of a large catalogue; None: they are exact."""


class Rough(Protocol):
    """Scores that are estimates: an exact one is one of these times exp(correction), whatever else made it of logits.

    Bounds and corrections are 0 where a score is exact.
    """

    most: float
    """No bound is above it."""

    def bounds(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K]: what the corrections of these items lie within, to both sides."""

    def corrections(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K], which takes a while for each item."""


class Scorer(Protocol):
    """``scoring.Scorer`` of every recipe folder: a loaded model, safe to use from several threads."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Sorted by code point."""
        ...

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Raises ArtifactError."""
        ...

    def history(self, user_id: str) -> list[Past]:
        """What the user did, as trained on, oldest first; [] for an unknown user."""
        ...

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """float32[I]: a distribution over the whole catalogue, for the caller to keep.

        A negative entry means that the item is never shown, as an item that is asked for its like; the others sum
        to 1. Who asks with nothing that the model knows is answered what is popular: an unknown user, or one of whom
        nothing is known but perhaps metadata; an unknown item.
        """
        ...


class Explaining(Scorer, Protocol):
    """``scoring.Scorer`` of the recipes that tell reasons."""

    def explained(self, query: Query) -> Explained:
        """The answer of ``scores`` to this query, with its reasons."""
        ...
