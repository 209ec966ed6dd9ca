"""A version that is being tuned, with its trials: what is known, and what follows from it. Writes nothing."""

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
    """``trials`` are all there are, by number."""

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
        """How many trainings may be tried."""
        return max(self.settings.automl_training_jobs, 1) if self.automl else tuning.training_jobs(self.config)[0]

    @property
    def at_once(self) -> int:
        parallel = self.settings.automl_parallel_jobs if self.automl else tuning.training_jobs(self.config)[1]
        return min(max(parallel, 1), self.jobs)

    @property
    def spaces(self) -> list[SearchSpace]:
        """Of the recipes that are tried, the simplest first."""
        if not self.automl:
            return [SearchSpace.from_config(_find_recipe(self.version.body["recipeArn"]), self.config)]
        return [SearchSpace.from_config(_find_recipe(arn), {}) for arn in self.version.state["candidates"]]

    def list_trials(self, space: SearchSpace) -> list[Record]:
        return [trial for trial in self.trials if trial.body["recipeArn"] == space.recipe.arn]

    @property
    def objective(self) -> tuple[str, bool]:
        """(what trials are compared by, is it to be made great?). Raises LookupError."""
        follow = self.settings.hpo_objective
        metric, great = tuning.objective(self.config, automl=self.automl, follow_hpo_objective=follow)
        if metric not in tuning.METRICS:  # it was not read when the solution was made
            raise LookupError(f"hpoObjective's metricName must be one of {', '.join(tuning.METRICS)}; it is {metric}.")
        return metric, great

    def get_value(self, trial: Record) -> float:
        """The value of a trial that is done, to be made great."""
        metric, great = self.objective
        value = float(trial.state["metrics"][metric])
        return value if great else -value

    @property
    def ends_early(self) -> bool:
        """May trials be ended early? Their epochs tell how accurate they are: nothing of what is sought otherwise."""
        metric, great = self.objective
        return great and metric != "coverage"

    def propose_trial(self) -> tuple[SearchSpace, Parameters] | None:
        """The trial to begin now; None where there is none, for now or for good."""
        if len(self.trials) >= self.jobs:
            return None
        for space in self._iter_spaces():
            tried = [self._list_tried(trial) for trial in self.list_trials(space)]
            parameters = space.propose_parameters(tried, jobs=self.jobs, seed=self.version.arn)
            if parameters is not None:
                return space, parameters
        return None

    def _iter_spaces(self) -> Iterator[SearchSpace]:
        """The spaces to look in, in this order."""
        spaces = {space.recipe.arn: space for space in self.spaces}
        begun = {arn: len(self.list_trials(space)) for arn, space in spaces.items()}
        yield from (space for arn, space in spaces.items() if not begun[arn])
        if len(spaces) > 1 and any(
            not is_terminal(trial) for space in spaces.values() for trial in self.list_trials(space)[:1]
        ):
            return  # Which recipes are worth more trials is known when each has had one.
        tunable = {
            arn: self.get_value(best)
            for arn, space in spaces.items()
            if space.distributions and (best := self.find_best(space)) is not None
        }
        # Of the recipes that go on, the one that was tried least.
        going_on = halving.select_survivors(tunable, begun, self.jobs)
        yield from (spaces[arn] for arn in sorted(going_on, key=lambda arn: begun[arn]))
        if len(spaces) == 1:
            yield from spaces.values()

    def find_best(self, space: SearchSpace) -> Record | None:
        """The best trial of a recipe that was not ended early."""
        done = [trial for trial in self.list_trials(space) if trial.status == ACTIVE]
        return max(done, key=self.get_value, default=None)

    def _list_tried(self, trial: Record) -> TriedParameters:
        gains = [gain for _, gain, _ in trials.curve(trial)]
        state, value = TrialState.FAIL, None
        if trial.status == ACTIVE:
            state, value = TrialState.COMPLETE, self.get_value(trial)
        elif not is_terminal(trial):
            state = TrialState.RUNNING
        elif trial.state.get("pruned") and gains:
            state, value = TrialState.PRUNED, max(gains)
        return TriedParameters(parameters=trial.body["parameters"], state=state, value=value)

    def find_unpromising(self) -> list[Record]:
        """Trials under way that are not worth going on with. The first of a recipe, its defaults, always is."""
        ended = []
        for space in self.spaces if self.ends_early else ():
            mine = self.list_trials(space)
            for trial in mine[1:]:
                others = [trials.curve(other) for other in mine if other is not trial]
                if not is_terminal(trial) and not halving.is_promising(trials.curve(trial), others):
                    ended.append(trial)
        return ended

    def find_winner(self) -> Record | None:
        """The best trial; of several recipes, that of the simplest that is not worse for certain."""
        best = [one for space in self.spaces if (one := self.find_best(space)) is not None]
        if not self.automl or not best:
            return max(best, key=self.get_value, default=None)
        metric, _ = self.objective
        chosen: Record = halving.find_simplest(
            [(one, self.get_value(one), one.state["errors"][metric]) for one in best]
        )
        return chosen

    def find_failure(self) -> str | None:
        """Why nothing will come of it: no recipe can be trained with its own hyperparameters."""
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
        """Of all trials, one after the other."""
        return sum(float(trial.state.get("progress", {}).get("seconds", 0.0)) for trial in self.trials)


def _find_recipe(arn: str) -> recipes.Recipe:
    recipe = recipes.find_recipe(arn)
    if recipe is None:
        raise LookupError(f"The recipe {arn} is not offered by this release.")
    return recipe
