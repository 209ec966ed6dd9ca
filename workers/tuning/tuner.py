"""The next step of HPO or AutoML, from what stands in the records. Safe to take again, by anybody, at any time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from optuna.trial import TrialState

from shared import queue, recipes
from shared.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    TRAINED,
    Request,
)
from shared.messages import Failed, RunTrial, Started, Stopped, TrainSolutionVersion, TuneSolutionVersion
from shared.process import Process
from shared.resources import RESOURCES, Reading
from shared.resources.contract import first_record, settled
from shared.resources.solution import tuning
from shared.resources.trial import requests as trials
from shared.settings import Settings
from shared.store import Conflict, Limit, NameTaken, Record
from shared.store import LimitReached as Full
from workers.tuning import halving
from workers.tuning.study import Parameters, Space, Tried

log = structlog.get_logger()

TRIAL = RESOURCES["trial"]


@dataclass(frozen=True)
class Search:
    """A version that is being tuned, with its trials: what is known, and what follows from it. Writes nothing."""

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
    def spaces(self) -> list[Space]:
        """Of the recipes that are tried, the simplest first."""
        if not self.automl:
            return [Space.of(_recipe(self.version.body["recipeArn"]), self.config)]
        return [Space.of(_recipe(arn), {}) for arn in self.version.state["candidates"]]

    def of(self, space: Space) -> list[Record]:
        return [trial for trial in self.trials if trial.body["recipeArn"] == space.recipe.arn]

    @property
    def objective(self) -> tuple[str, bool]:
        """(what trials are compared by, is it to be made great?). Raises LookupError."""
        follow = self.settings.hpo_objective
        metric, great = tuning.objective(self.config, automl=self.automl, follow_hpo_objective=follow)
        if metric not in tuning.METRICS:  # it was not read when the solution was made
            raise LookupError(f"hpoObjective's metricName must be one of {', '.join(tuning.METRICS)}; it is {metric}.")
        return metric, great

    def value(self, trial: Record) -> float | None:
        """What a trial has come to, to be made great; of one that was ended early, so far. None: nothing."""
        metric, great = self.objective
        if trial.status == ACTIVE:
            value = float(trial.state["metrics"][metric])
            return value if great else -value
        gains = [gain for _, gain, _ in trials.curve(trial)]
        return max(gains) if gains and trial.state.get("pruned") else None

    @property
    def ends_early(self) -> bool:
        """May trials be ended early? Their epochs tell how accurate they are: nothing of what is sought otherwise."""
        metric, great = self.objective
        return great and metric != "coverage"

    def error(self, trial: Record) -> float:
        metric, _ = self.objective
        return float(trial.state["errors"][metric])

    def next(self) -> tuple[Space, Parameters] | None:
        """The trial to begin now; None where there is none, for now or for good."""
        if len(self.trials) >= self.jobs:
            return None
        for space in self._in_turn():
            tried = [self._tried(trial) for trial in self.of(space)]
            parameters = space.next(tried, jobs=self.jobs, seed=self.version.arn)
            if parameters is not None:
                return space, parameters
        return None

    def _in_turn(self) -> Iterator[Space]:
        """The spaces to look in, in this order."""
        spaces = {space.recipe.arn: space for space in self.spaces}
        begun = {arn: len(self.of(space)) for arn, space in spaces.items()}
        yield from (space for arn, space in spaces.items() if not begun[arn])
        if len(spaces) > 1 and any(not settled(trial) for space in spaces.values() for trial in self.of(space)[:1]):
            return  # Which recipes are worth more trials is known when each has had one.
        best = {arn: best for arn, space in spaces.items() if (best := self._best(space)) is not None}
        tunable = {arn: value for arn, value in best.items() if spaces[arn].distributions}
        # Of the recipes that go on, the one that was tried least.
        going_on = halving.survivors(tunable, begun, self.jobs)
        yield from (spaces[arn] for arn in sorted(going_on, key=lambda arn: begun[arn]))
        if len(spaces) == 1:
            yield from spaces.values()

    def _best(self, space: Space) -> float | None:
        done = [trial for trial in self.of(space) if trial.status == ACTIVE]
        return max((self.value(trial) or 0.0 for trial in done), default=None)

    def _tried(self, trial: Record) -> Tried:
        value = self.value(trial)
        if trial.status == ACTIVE:
            state = TrialState.COMPLETE
        elif not settled(trial):
            state, value = TrialState.RUNNING, None
        else:
            state = TrialState.PRUNED if value is not None else TrialState.FAIL
        return Tried(parameters=trial.body["parameters"], state=state, value=value)

    def unpromising(self) -> list[Record]:
        """Trials under way that are not worth going on with. The first of a recipe, its defaults, always is."""
        ended = []
        for space in self.spaces if self.ends_early else ():
            mine = self.of(space)
            for trial in mine[1:]:
                others = [trials.curve(other) for other in mine if other is not trial]
                if not settled(trial) and not halving.promising(trials.curve(trial), others):
                    ended.append(trial)
        return ended

    def winner(self) -> Record | None:
        """The best trial; of several recipes, that of the simplest that is not worse for certain."""
        best = []
        for space in self.spaces:
            done = [trial for trial in self.of(space) if trial.status == ACTIVE]
            if done:
                one = max(done, key=lambda trial: self.value(trial) or 0.0)
                best.append((one, self.value(one) or 0.0, self.error(one)))
        if not best:
            return None
        return max(best, key=lambda result: result[1])[0] if not self.automl else halving.simplest(best)

    def failure(self) -> str | None:
        """Why nothing will come of it: no recipe can be trained with its own hyperparameters."""
        reasons = []
        for space in self.spaces:
            first = self.of(space)[:1]
            if not first or first[0].status != CREATE_FAILED or any(t.status == ACTIVE for t in self.of(space)):
                return None
            reasons.append((space.recipe.name, first[0].reason or "It failed."))
        if len({reason for _, reason in reasons}) == 1:
            return reasons[0][1]
        return " ".join(f"{name}: {reason}" for name, reason in reasons)

    @property
    def seconds(self) -> float:
        """Of all trials, one after the other."""
        return sum(float(trial.state.get("progress", {}).get("seconds", 0.0)) for trial in self.trials)


def _recipe(arn: str) -> recipes.Recipe:
    recipe = recipes.by_arn(arn)
    if recipe is None:
        raise LookupError(f"The recipe {arn} is not offered by this release.")
    return recipe


def advance(process: Process, arn: str) -> None:
    """Take steps until there is none to take before something happens."""
    while _step(process, arn):
        continue


def _step(process: Process, arn: str) -> bool:
    """One change at most, and whether there may be another."""
    version = process.store.get(arn)
    if version is None or version.kind != "solution_version" or not _tunes(version):
        return False
    search = Search(version, trials.of(version, Reading(process.store, process.settings)), process.settings)
    under_way = [trial for trial in search.trials if not settled(trial)]
    try:
        # One that was stopped before its Started had been heard is CREATE STOPPED at once, and may have trials.
        if version.status in (CREATE_STOPPING, CREATE_STOPPED):
            return _wind_down(process, version, under_way)
        return not settled(version) and _go_on(process, search, under_way)
    except (Conflict, NameTaken):
        return True  # Something moved in between: look again.
    except LookupError as error:
        _report(process, Failed(arn=arn, attempt=version.attempt, reason=str(error)))
        return False


def _tunes(version: Record) -> bool:
    """Is it ours to see to? Not before, and no longer once there is a winner."""
    return RESOURCES[version.kind].command_for(version) is TuneSolutionVersion


def _go_on(process: Process, search: Search, under_way: Sequence[Record]) -> bool:
    version = search.version
    if version.status == CREATE_PENDING and not search.trials:
        _report(process, Started(arn=version.arn, attempt=version.attempt))
    for trial in search.unpromising():
        if trial.status != CREATE_STOPPING:
            _stop(process, trial, pruned=True)
            return True
    _tidy(process, search)
    if (reason := search.failure()) is not None:
        if under_way:
            return False  # they may do what the defaults can't; more are not begun on that hope
        process.artifacts.discard_workspace(version.arn)
        _report(process, Failed(arn=version.arn, attempt=version.attempt, reason=reason))
        return False
    if len(under_way) < min(search.at_once, _workers(process)) and (proposed := search.next()) is not None:
        return _begin(process, search, *proposed)
    if under_way:
        return False
    return _conclude(process, search)


def _workers(process: Process) -> int:
    """Training workers that live. A trial that nobody could take yet would be one proposed too early."""
    return max(sum(name.startswith("training@") for name in process.store.beating()), 1)


def _begin(process: Process, search: Search, space: Space, parameters: Parameters) -> bool:
    version = search.version
    request = {
        "solutionVersionArn": version.arn,
        "recipeArn": space.recipe.arn,
        "number": len(search.trials),
        "parameters": dict(parameters),
    }
    drafted = TRIAL.draft(request, Reading(process.store, process.settings))
    record = first_record(TRIAL, replace(drafted, guards=(version,)))
    command = RunTrial(arn=record.arn)
    try:
        process.store.create(
            record,
            invocation=record.arn,
            guards=(version,),
            limit=Limit(most=search.at_once, parent=version.arn, moving=True),
            notes=[queue.note(command)],
        )
    except Full:
        return False
    log.info("trial begun", arn=record.arn, parameters=parameters)
    queue.ring(process.store, process.queue, command)
    return True


def _stop(process: Process, trial: Record, *, pruned: bool) -> None:
    """Whoever works on it sees that by the lease; who does not will never begin."""
    status = TRAINED.after(trial.status or "", Request.STOP)
    if status == CREATE_STOPPED and process.store.lease(trial.arn) is not None:
        # Somebody has just begun: what they work in is not removed before they have ended.
        status = CREATE_STOPPING
    if status is None:
        return
    state = {**trial.state, "pruned": True} if pruned else trial.state
    process.store.replace(replace(trial, status=status, state=state, updated=time.time()))
    log.info("trial ended early", arn=trial.arn, pruned=pruned)


def _wind_down(process: Process, version: Record, under_way: Sequence[Record]) -> bool:
    for trial in under_way:
        if trial.status != CREATE_STOPPING:
            _stop(process, trial, pruned=False)
            return True
    if under_way:
        return False
    process.artifacts.discard_workspace(version.arn)
    if not settled(version):
        _report(process, Stopped(arn=version.arn, attempt=version.attempt))
    return False


def _tidy(process: Process, search: Search) -> None:
    """Remove the checkpoints of trials that will not be gone on with: those of a large catalogue are large."""
    of_version = process.artifacts.workspace(search.version.arn)
    best = {one.arn for space in search.spaces if (one := _best_of(search, space)) is not None}
    for trial in search.trials:
        if settled(trial) and trial.arn not in best:
            shutil.rmtree(trials.workspace(of_version, trial.body["number"]), ignore_errors=True)


def _best_of(search: Search, space: Space) -> Record | None:
    done = [trial for trial in search.of(space) if trial.status == ACTIVE]
    return max(done, key=lambda trial: search.value(trial) or 0.0, default=None)


def _conclude(process: Process, search: Search) -> bool:
    version, winner = search.version, search.winner()
    if winner is None:
        reasons = [trial.reason for trial in search.trials if trial.reason] or ["No trial was finished."]
        process.artifacts.discard_workspace(version.arn)
        _report(process, Failed(arn=version.arn, attempt=version.attempt, reason=reasons[0]))
        return False
    space = next(space for space in search.spaces if space.recipe.arn == winner.body["recipeArn"])
    won = {
        "recipeArn": winner.body["recipeArn"],
        "parameters": winner.body["parameters"],
        "searched": sorted(space.distributions),
        "trial": winner.body["number"],
        "seconds": search.seconds,
    }
    command = TrainSolutionVersion(arn=version.arn)
    process.store.replace(
        replace(version, state={**version.state, "tuned": won}),
        notes=[queue.note(command)],
    )
    log.info("tuned", arn=version.arn, trial=winner.arn, parameters=winner.body["parameters"])
    queue.ring(process.store, process.queue, command)
    return False


def _report(process: Process, fact: Started | Failed | Stopped) -> None:
    queue.report(process.store, process.queue, fact)
