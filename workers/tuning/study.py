"""Proposes the hyperparameters of the next trial by an Optuna study, rebuilt from the records of trials each time."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from shared.recipes import HyperParameter, Recipe
from shared.resources.solution import tuning

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: Trials drawn at random before the sampler starts: their share of all trials, and their least number.
STARTUP_SHARE, LEAST_STARTUP = 0.25, 3
#: A range with an upper bound of at least WIDE times the lower one is searched on a logarithmic scale.
WIDE = 8.0
#: After this number of proposals that were tried before, the sampler is no longer asked.
PROPOSALS = 30

Parameters = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TriedParameters:
    """A trial, as the sampler reads it. Greater values are better."""

    parameters: Parameters
    state: TrialState
    value: float | None = None
    """None for a trial that is under way or failed."""


@dataclass(frozen=True)
class SearchSpace:
    """The ranges searched for a recipe. ``first`` has all its hyperparameters: the defaults or the customer's."""

    recipe: Recipe
    first: Parameters
    distributions: Mapping[str, BaseDistribution]

    @classmethod
    def from_config(cls, recipe: Recipe, config: Mapping[str, Any]) -> SearchSpace:
        """Take the ranges of ``config.hpoConfig``; without any, the recipe's ranges of all tunable hyperparameters."""
        tunable = {p.name: p for p in recipe.hyperparameters if p.tunable}
        wanted = tuning.get_ranges(config) or {name: {} for name in tunable}
        distributions = {name: _create_distribution(tunable[name], range_) for name, range_ in wanted.items()}
        first = recipe.resolve_parameters(config)
        first |= {name: _format_value(_clip_to_range(first[name], within)) for name, within in distributions.items()}
        return cls(recipe, first, distributions)

    def propose_parameters(self, tried: Sequence[TriedParameters], *, jobs: int, seed: str) -> Parameters | None:
        """Return all hyperparameters of the next trial; None where every combination was tried.

        The same trials and seed give the same proposal.
        """
        if not tried:
            return self.first
        known = {_make_key(each.parameters) for each in tried}
        if len(known) >= self.size:
            return None
        proposals = self._iter_proposals(tried, jobs=jobs, seed=zlib.crc32(f"{seed}/{len(tried)}".encode()))
        return next(proposed for proposed in proposals if _make_key(proposed) not in known)

    @property
    def size(self) -> float:
        """The number of different trials; inf where a range is continuous."""
        return math.prod(_count_values(within) for within in self.distributions.values())

    def _iter_proposals(self, tried: Sequence[TriedParameters], *, jobs: int, seed: int) -> Iterator[Parameters]:
        """Yield the sampler's proposals, then random ones, in case the sampler repeats itself."""
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            # Trials under way count as bad, so that proposals made at the same time differ.
            constant_liar=True,
            n_startup_trials=max(round(STARTUP_SHARE * jobs), LEAST_STARTUP),
        )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for each in tried:
            study.add_trial(self._freeze_trial(each))
        for _ in range(PROPOSALS):
            yield self._ask_study(study)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        while True:
            yield self._ask_study(study)

    def _ask_study(self, study: optuna.Study) -> Parameters:
        asked = study.ask(dict(self.distributions))
        return {**self.first, **{name: _format_value(value) for name, value in asked.params.items()}}

    def _freeze_trial(self, tried: TriedParameters) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(
            state=tried.state,
            value=tried.value if tried.state == TrialState.COMPLETE else None,
            params={name: _parse_value(tried.parameters[name], within) for name, within in self.distributions.items()},
            distributions=dict(self.distributions),
            # Trials that ended early rank behind all finished ones, in the order of their last values.
            intermediate_values={} if tried.value is None else {0: tried.value},
        )


def _create_distribution(parameter: HyperParameter, wanted: Mapping[str, Any]) -> BaseDistribution:
    if parameter.type == "categorical":
        values = wanted.get("values") or parameter.choices
        return CategoricalDistribution(sorted({parameter.check_value(str(value)) for value in values}))
    low, high = (float(str(wanted.get(f"{end}Value", getattr(parameter, f"{end}imum")))) for end in ("min", "max"))
    by_ratio = low > 0 and high / low >= WIDE
    if parameter.type == "integer":
        return IntDistribution(int(low), int(high), log=by_ratio)
    return FloatDistribution(low, high, log=by_ratio)


def _count_values(within: BaseDistribution) -> float:
    if isinstance(within, CategoricalDistribution):
        return len(within.choices)
    if isinstance(within, IntDistribution):
        return within.high - within.low + 1
    return 1 if within.single() else math.inf


def _make_key(parameters: Parameters) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(parameters.items()))


def _clip_to_range(text: str, within: BaseDistribution) -> object:
    if isinstance(within, CategoricalDistribution):
        return text if text in within.choices else within.choices[0]
    assert isinstance(within, IntDistribution | FloatDistribution)  # noqa: S101
    return type(within.low)(min(max(float(text), within.low), within.high))


def _parse_value(text: str, within: BaseDistribution) -> object:
    if isinstance(within, CategoricalDistribution):
        return text
    return int(text) if isinstance(within, IntDistribution) else float(text)


def _format_value(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
