"""The state of the tuning of a version, from its trials, and the next trial that follows. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState

from shared import recipes
from shared.resources.resource_type import is_terminal
from shared.resources.solution import tuning
from shared.resources.trial import requests as trials
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_FAILED
from shared.store import Record
from workers.tuning import halving
from workers.tuning.study import Parameters, SearchSpace, TriedParameters


@dataclass(frozen=True)
class TrialSearch:
    """A version that is being tuned. ``trials`` holds all its trials, by number."""

    version: Record
    trials: Sequence[Record]
    settings: Settings

    @property
    def automl(self) -> bool:
        return bool(self.version.body.get("performAutoML"))

    @property
    def config(self) -> Mapping[str, Any]:
        return self.version.body.get("solutionConfig") or {}

    @property
    def jobs(self) -> int:
        """The number of trials, at most."""
        return max(self.settings.automl_training_jobs, 1) if self.automl else tuning.parse_job_limits(self.config)[0]

    @property
    def at_once(self) -> int:
        """The number of trials under way at the same time, at most."""
        parallel = self.settings.automl_parallel_jobs if self.automl else tuning.parse_job_limits(self.config)[1]
        return min(max(parallel, 1), self.jobs)

    @property
    def spaces(self) -> list[SearchSpace]:
        """The search spaces of the recipes that are tried, the simplest recipe first."""
        if not self.automl:
            return [SearchSpace.from_config(_find_recipe(self.version.body["recipeArn"]), self.config)]
        return [SearchSpace.from_config(_find_recipe(arn), {}) for arn in self.version.state["candidates"]]

    def list_trials(self, space: SearchSpace) -> list[Record]:
        """Return the trials of a recipe, by number."""
        return [trial for trial in self.trials if trial.body["recipeArn"] == space.recipe.arn]

    @property
    def objective(self) -> tuple[str, bool]:
        """(the metric by which trials are compared, whether it is maximized). Raises LookupError."""
        follow = self.settings.hpo_objective
        metric, great = tuning.resolve_objective(self.config, automl=self.automl, follow_hpo_objective=follow)
        if metric not in tuning.METRICS:  # CreateSolution does not check it
            raise LookupError(f"hpoObjective's metricName must be one of {', '.join(tuning.METRICS)}; it is {metric}.")
        return metric, great

    def get_value(self, trial: Record) -> float:
        """Return the value of a finished trial; greater is better."""
        metric, great = self.objective
        value = float(trial.state["metrics"][metric])
        return value if great else -value

    @property
    def ends_early(self) -> bool:
        """Whether trials may end early: their epochs report the NDCG, which says little about other objectives."""
        metric, great = self.objective
        return great and metric != "coverage"

    def propose_trial(self) -> tuple[SearchSpace, Parameters] | None:
        """Return the trial to start now; None where there is none, for now or for good."""
        if len(self.trials) >= self.jobs:
            return None
        for space in self._iter_spaces():
            tried = [self._list_tried(trial) for trial in self.list_trials(space)]
            parameters = space.propose_parameters(tried, jobs=self.jobs, seed=self.version.arn)
            if parameters is not None:
                return space, parameters
        return None

    def _iter_spaces(self) -> Iterator[SearchSpace]:
        """Yield the spaces from which the next trial may come, in order of preference."""
        spaces = {space.recipe.arn: space for space in self.spaces}
        begun = {arn: len(self.list_trials(space)) for arn, space in spaces.items()}
        yield from (space for arn, space in spaces.items() if not begun[arn])
        if len(spaces) > 1 and any(
            not is_terminal(trial) for space in spaces.values() for trial in self.list_trials(space)[:1]
        ):
            return  # Recipes can be compared only after the first trial of each.
        tunable = {
            arn: self.get_value(best)
            for arn, space in spaces.items()
            if space.distributions and (best := self.find_best(space)) is not None
        }
        # Of the recipes that remain, the one with the fewest trials first.
        remaining = halving.select_survivors(tunable, begun, self.jobs)
        yield from (spaces[arn] for arn in sorted(remaining, key=lambda arn: begun[arn]))
        if len(spaces) == 1:
            yield from spaces.values()

    def find_best(self, space: SearchSpace) -> Record | None:
        """Return the best finished trial of a recipe; trials that ended early do not count."""
        done = [trial for trial in self.list_trials(space) if trial.status == ACTIVE]
        return max(done, key=self.get_value, default=None)

    def _list_tried(self, trial: Record) -> TriedParameters:
        ndcgs = [ndcg for _, ndcg, _ in trials.read_curve(trial)]
        state, value = TrialState.FAIL, None
        if trial.status == ACTIVE:
            state, value = TrialState.COMPLETE, self.get_value(trial)
        elif not is_terminal(trial):
            state = TrialState.RUNNING
        elif trial.state.get("pruned") and ndcgs:
            state, value = TrialState.PRUNED, max(ndcgs)
        return TriedParameters(parameters=trial.body["parameters"], state=state, value=value)

    def find_unpromising(self) -> list[Record]:
        """Return the trials under way that should end early; never the first of a recipe, which has its defaults."""
        ended = []
        for space in self.spaces if self.ends_early else ():
            mine = self.list_trials(space)
            for trial in mine[1:]:
                rivals = [trials.read_curve(other) for other in mine if other is not trial]
                if not is_terminal(trial) and not halving.is_promising(trials.read_curve(trial), rivals):
                    ended.append(trial)
        return ended

    def find_winner(self) -> Record | None:
        """Return the best trial; with AutoML that of the simplest recipe within a standard error of the best."""
        best = [one for space in self.spaces if (one := self.find_best(space)) is not None]
        if not self.automl or not best:
            return max(best, key=self.get_value, default=None)
        metric, _ = self.objective
        chosen: Record = halving.find_simplest(
            [(one, self.get_value(one), one.state["errors"][metric]) for one in best]
        )
        return chosen

    def find_failure(self) -> str | None:
        """Return why the tuning must fail: no recipe can be trained with its default hyperparameters; else None."""
        reasons = []
        for space in self.spaces:
            first = self.list_trials(space)[:1]
            if (
                not first
                or first[0].status != CREATE_FAILED
                or any(t.status == ACTIVE for t in self.list_trials(space))
            ):
                return None
            reasons.append((space.recipe.name, first[0].reason or "It failed."))
        if len({reason for _, reason in reasons}) == 1:
            return reasons[0][1]
        return " ".join(f"{name}: {reason}" for name, reason in reasons)

    @property
    def seconds(self) -> float:
        """The training time of all trials, in sum."""
        return sum(float(trial.state.get("progress", {}).get("seconds", 0.0)) for trial in self.trials)


def _find_recipe(arn: str) -> recipes.Recipe:
    recipe = recipes.find_recipe(arn)
    if recipe is None:
        raise LookupError(f"The recipe {arn} is not offered by this release.")
    return recipe
