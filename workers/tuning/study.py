"""An Optuna study made from the records of trials: what to try next. It keeps nothing; the records are the study."""

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

#: Trials drawn at random before the sampler has enough to go by, as a share of all, and at least.
STARTUP_SHARE, LEAST_STARTUP = 0.25, 3
#: A range whose bounds differ by so much is searched by ratio, not by difference.
WIDE = 8.0
#: So many proposals that were tried before, and the sampler is not asked again.
PROPOSALS = 30

Parameters = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TriedParameters:
    """A trial, as the sampler sees it. Values are to be made great."""

    parameters: Parameters
    state: TrialState
    value: float | None = None
    """None of one that is under way or failed."""


@dataclass(frozen=True)
class SearchSpace:
    """What is searched of a recipe's hyperparameters. ``first`` has all of them: the recipe's own or the customer's."""

    recipe: Recipe
    first: Parameters
    distributions: Mapping[str, BaseDistribution]

    @classmethod
    def from_config(cls, recipe: Recipe, config: Mapping[str, Any]) -> SearchSpace:
        """The ranges of ``config.hpoConfig``; without any, those of everything tunable, as the recipe has them."""
        tunable = {p.name: p for p in recipe.hyperparameters if p.tunable}
        wanted = tuning.ranges(config) or {name: {} for name in tunable}
        distributions = {name: _create_distribution(tunable[name], range_) for name, range_ in wanted.items()}
        first = recipe.resolve_parameters(config)
        first |= {name: _format_value(_clip_to_range(first[name], within)) for name, within in distributions.items()}
        return cls(recipe, first, distributions)

    def propose_parameters(self, tried: Sequence[TriedParameters], *, jobs: int, seed: str) -> Parameters | None:
        """All hyperparameters of the trial to begin now; None where there is nothing that was not tried.

        The same trials, and the same seed, give the same proposal.
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
        """How many different trials there could be."""
        return math.prod(_count_values(within) for within in self.distributions.values())

    def _iter_proposals(self, tried: Sequence[TriedParameters], *, jobs: int, seed: int) -> Iterator[Parameters]:
        """The sampler's, and when it sees nothing but what was tried, any."""
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            # What is under way counts as if it went badly: two that ask at once look in different places.
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
            # A trial that was ended early stands behind all that were not, in the order of what it had come to.
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
