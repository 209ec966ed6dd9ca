"""The declaration of a recipe: its names and traits at AWS, its hyperparameters, and the folder that implements it.

Imports neither torch nor NumPy: the API reads declarations to answer DescribeRecipe and to check CreateSolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from shared.recipes.hyperparameters import RANGE_LISTS, HyperParameter


@dataclass(frozen=True, kw_only=True)
class TrainingTraits:
    """The data that a recipe trains on, and the configuration that its training takes."""

    modes: tuple[str, ...] = ("FULL",)
    """The values of trainingMode that CreateSolutionVersion takes."""
    datasets: tuple[str, ...] = ("INTERACTIONS",)
    """The datasets without which the recipe cannot train."""
    uses_metadata: bool = False
    """Learns from the Items and Users datasets, and from the contextual columns of the interactions."""
    uses_texts: bool = False
    """Learns from the texts of the Items dataset as they are."""
    cold_items: bool = False
    """Recommends every item of the Items dataset, not only the items with an interaction."""
    uses_impressions: bool = False
    """Learns from the items that were shown, as well as from the item that was taken."""
    takes_objective: bool = False
    """Takes an optimizationObjective."""
    takes_events_config: bool = False
    """Takes an eventsConfig."""
    event_type: str | None = None
    """The type of the events that a use case trains on, in any case; None: all types."""


@dataclass(frozen=True, kw_only=True)
class ServingTraits:
    """How a runtime or a batch job asks a trained model, and which parts of its answers it shows."""

    required_members: tuple[Literal["userId", "itemId", "itemAttributes"], ...] = ("userId",)
    """The members that a runtime request, or a line of a batch job, must have."""
    shows_scores: bool = False
    """Answers show scores. AWS shows those of User-Personalization, Personalized-Ranking and HRNN."""
    always_shows_metadata: bool = False
    """Answers show metadata even where enableMetadataWithRecommendations is not true."""
    gives_reasons: bool = False
    """Answers say why an item is in them. The recipe's scorer is then an ``ExplainingScorer``."""
    reads_live_events: bool = False
    """Answers depend on the user's events since the training. Filters always know these events."""
    takes_new_items: bool = False
    """Answers know items that were put or imported since the training. The scorer is then an ``UpdatableScorer``."""
    takes_ranking_influence: bool = False
    """A campaign or batch job takes a rankingInfluence."""
    explores: bool = False
    """A campaign, recommender or batch job takes an itemExplorationConfig."""
    hidden_event_type: str | None = None
    """Answers never show an item with which the user has an event of this type, in any case: watched, or bought."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe as AWS names and documents it, and the folder that trains and serves it."""

    name: str
    description: str
    recipe_type: str
    algorithm: str
    feature_transformation: str | None
    module: str
    """Package with ``training`` and ``scoring``; these may import torch, the package itself must not."""
    hyperparameters: tuple[HyperParameter, ...] = ()
    inert: tuple[HyperParameter, ...] = ()
    """Hyperparameters that AWS accepts beyond the recipe's documented table: checked and echoed, without effect."""
    interactions: str = "INTERACTIONS"
    """The dataset of the events that the recipe learns from, in bulk and live."""
    catalogue: str = "ITEMS"
    """The dataset that describes what the recipe recommends: items, or actions, which all later code calls items."""
    training: TrainingTraits = TrainingTraits()
    serving: ServingTraits = ServingTraits()
    domain: str | None = None
    """VIDEO_ON_DEMAND or ECOMMERCE: a use case, for CreateRecommender alone. Its hyperparameters cannot be set."""
    created: datetime = field(default=datetime(2019, 6, 10, tzinfo=UTC))
    """The day on which Personalize became generally available: recipes are as old as the service."""

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

    def resolve_parameters(self, solution_config: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the value of every hyperparameter: the defaults, overridden by a SolutionConfig.

        Either map may hold either kind, since AWS's own guide puts the percentiles in both. The ranges in hpoConfig are
        checked too. Raises ValueError with a sentence for the user: an unknown name, two names of one hyperparameter, a
        value of the wrong type or out of range, a range that is empty, not tunable or misplaced.
        """
        config = solution_config or {}
        values = {p.name: p.default for p in self.hyperparameters} | self._parse_config(config)
        for name, low in values.items():
            high = values.get(f"max_{name.removeprefix('min_')}")
            if name.startswith("min_") and high is not None and float(low) > float(high):
                raise ValueError(f"{name} {low} is above the maximum, {high}.")
        ranges = (config.get("hpoConfig") or {}).get("algorithmHyperParameterRanges") or {}
        for type_, list_name in RANGE_LISTS.items():
            for wanted in ranges.get(list_name) or ():
                # DescribeSolution prints ranges with a prefix, and clients send the printed names back.
                parameter = self._find_parameter(wanted.get("name", "").rpartition(".")[2])
                if parameter.tunable and parameter.type != type_:
                    raise ValueError(f"{parameter.name} belongs in {RANGE_LISTS[parameter.type]}.")
                parameter.check_range(wanted)
        return values

    def _parse_config(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the values that the two maps set, by the names in this recipe's table. Raises ValueError."""
        values: dict[str, str] = {}
        names: dict[str, str] = {}
        for map_name in ("algorithmHyperParameters", "featureTransformationParameters"):
            for name, value in (config.get(map_name) or {}).items():
                parameter = self._find_parameter(name)
                if parameter.only_tuned:
                    raise ValueError(f"{name} is set by HPO alone: give its range in hpoConfig.")
                if (other := names.setdefault(parameter.name, name)) != name:
                    raise ValueError(f"{other} and {name} are two names of one hyperparameter: give one of them.")
                checked = replace(parameter, name=name).check_value(value)  # an error has the name that was sent
                if parameter not in self.inert:
                    values[parameter.name] = checked
        return values

    def _find_parameter(self, name: str) -> HyperParameter:
        for parameter in (*self.hyperparameters, *self.inert):
            if name in (parameter.name, *parameter.aliases):
                return parameter
        offered = ", ".join(sorted(p.name for p in self.hyperparameters)) or "none"
        raise ValueError(f"{name} is not a hyperparameter of {self.name}, which has: {offered}.")
