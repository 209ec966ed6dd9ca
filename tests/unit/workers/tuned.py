"""A solution version that is being tuned, in a store in memory: the test says how each trial goes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.status import transitions, tuning_wakeups
from shared.resources.resource_type import is_terminal
from shared.resources.solution.tuning import METRICS
from shared.resources.trial import requests as trials
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CLAIMABLE, CREATE_STOPPING
from shared.state.messages import (
    Command,
    Fact,
    Failed,
    Finished,
    Progressed,
    RunTrial,
    Started,
    Stopped,
    TrainSolutionVersion,
    TuneSolutionVersion,
)
from shared.storage.artifacts import Artifacts
from shared.store import Lease, Record
from tests.unit.shared.resources.standing import Standing
from workers.tuning import tuner

NDCG = "normalized_discounted_cumulative_gain_at_25"
SECONDS = 10.0
"""Of each epoch."""


def resources(jobs: int, at_once: int) -> dict[str, Any]:
    return {"hpoResourceConfig": {"maxNumberOfTrainingJobs": str(jobs), "maxParallelTrainingJobs": str(at_once)}}


class Tuned(Standing):
    """``jobs`` and ``at_once`` as the client says them; ``workers`` training workers live."""

    def __init__(
        self, folder: Path, *, jobs: int = 6, at_once: int = 2, workers: int = 10, recipe: str | None = "aws-hrnn",
        settings: Mapping[str, Any] | None = None, **config: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        configured = Settings(**(settings or {}))
        self.process = replace(self.process, name="tuning@h:1", settings=configured, artifacts=Artifacts(folder))
        self.config = {"hpoConfig": resources(jobs, at_once), **config}
        self.recipe, self.jobs, self.at_once, self.workers = recipe, jobs, at_once, workers
        self.ordered: list[Command] = []
        """What training workers were sent."""
        self.leases: dict[str, Lease] = {}
        for number in range(workers):
            self.store.send_heartbeat(f"training@h:{number}", 1e9)
        self.arn = ""

    def begin(self) -> None:
        self.create()
        self.hear()

    def create(self) -> None:
        asked = {"performHPO": True, "performAutoML": self.recipe is None, "solutionConfig": self.config}
        solution = self.solution(self.recipe, **asked)
        self.arn = self.ask("CreateSolutionVersion", solutionArn=solution)["solutionVersionArn"]

    def hear(self) -> None:
        """Everything that was sent is done, but for the work of training workers."""
        while self.queue.messages:
            match message := self.queue.messages.pop(0):
                case TuneSolutionVersion():
                    tuner.advance_tuning(self.process, message.arn)
                case Fact():
                    transitions.write_transition(self.store, message)
                    tuning_wakeups.wake_tuner(self.process, message)
                case _:
                    self.ordered.append(message)

    def say(self, fact: Fact) -> None:
        self.queue.send(fact)
        self.hear()

    # The version

    @property
    def tuning(self) -> Record:
        return self.get(self.arn)

    def described(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("DescribeSolutionVersion", solutionVersionArn=self.arn)["solutionVersion"]
        return shown

    def trained(self, seconds: float) -> None:
        outcome = {"metrics": {}, "baseline": {}, "epochs": 1, "seconds": seconds}
        self.say(Finished(arn=self.arn, attempt=self.tuning.attempt, outcome=outcome))

    @property
    def trainings(self) -> int:
        return self.ordered.count(TrainSolutionVersion(arn=self.arn))

    # Its trials

    @property
    def trials(self) -> list[Record]:
        return trials.list_trials(self.tuning, self.reading)

    @property
    def under_way(self) -> list[Record]:
        return [trial for trial in self.trials if not is_terminal(trial)]

    def trial(self, number: int) -> Record:
        return self.trials[number]

    def take_up(self, number: int) -> None:
        """A training worker begins it. The Started is still on its way."""
        arn = self.trial(number).arn
        assert RunTrial(arn=arn) in self.ordered
        lease = self.store.claim_lease(arn, f"training@h:{number}", CLAIMABLE, 1e9)
        assert lease is not None
        self.leases[arn] = lease

    def start(self, number: int) -> None:
        if self.trial(number).arn not in self.leases:
            self.take_up(number)
            self.say(Started(arn=self.trial(number).arn, attempt=self.trial(number).attempt))

    def epoch(self, number: int, gain: float) -> None:
        self.start(number)
        trial = self.trial(number)
        told = [list(point) for point in trials.read_curve(trial)]
        told.append([len(told) + 1, gain, SECONDS * (len(told) + 1)])
        progress = {"epoch": len(told), "gain": gain, "curve": told, "seconds": SECONDS * len(told)}
        self.say(Progressed(arn=trial.arn, attempt=trial.attempt, progress=progress))

    def epochs(self, number: int, *gains: float) -> None:
        for gain in gains:
            self.epoch(number, gain)

    def finish(self, number: int, gain: float = 0.1, error: float = 0.01, **metrics: float) -> None:
        """``gain`` is each of its metrics that is not told otherwise."""
        self.start(number)
        outcome = {
            "metrics": {**dict.fromkeys(METRICS, gain), **metrics},
            "errors": dict.fromkeys(METRICS, error),
            "epochs": 3,
            "progress": {**self.trial(number).state.get("progress", {}), "seconds": 3 * SECONDS},
        }
        self._end(number, Finished(**self._named(number), outcome=outcome))

    def fail(self, number: int, reason: str = "It can't be.") -> None:
        self.start(number)
        self._end(number, Failed(**self._named(number), reason=reason))

    def stop(self, number: int) -> None:
        """Its worker has seen by the lease that it is to end."""
        lease = self.leases[self.trial(number).arn]
        assert self.store.renew_lease(lease, 1e9) == CREATE_STOPPING
        self._end(number, Stopped(**self._named(number)))

    def _named(self, number: int) -> dict[str, Any]:
        return {"arn": self.trial(number).arn, "attempt": self.trial(number).attempt}

    def _end(self, number: int, fact: Fact) -> None:
        self.say(fact)
        self.store.release_lease(self.leases.pop(fact.arn), failed=False)

    def finish_all(self, gain: Any = 0.1) -> None:
        """The trials to come, one after the other; ``gain`` is a number or made from the parameters."""
        while self.under_way:
            trial = self.under_way[0]
            value = gain(trial.body["parameters"]) if callable(gain) else gain
            self.finish(trial.body["number"], value)

    def some_step(self, chance: random.Random) -> None:
        """Something happens to one of the trials that are under way."""
        trial = chance.choice(self.under_way)
        number = trial.body["number"]
        if trial.status == CREATE_STOPPING:
            self.stop(number)
            return
        match chance.randrange(10):
            case 0:
                self.fail(number)
            case 1 | 2:
                self.finish(number, chance.random())
            case _:
                self.epoch(number, chance.random())

    def check(self) -> None:
        """Both limits hold, and numbers have no gaps."""
        assert len(self.under_way) <= min(self.at_once, max(self.workers, 1))
        assert [trial.body["number"] for trial in self.trials] == list(range(len(self.trials)))
        assert len(self.trials) <= self.jobs
        sent = [command for command in self.ordered if isinstance(command, RunTrial)]
        assert {command.arn for command in sent} == {trial.arn for trial in self.trials}

    def counted(self) -> dict[str, int]:
        statuses = [trial.status or ACTIVE for trial in self.trials]
        return {status: statuses.count(status) for status in sorted(set(statuses))}


class Interrupted:
    """A store under which something else happens just before each of these calls of a tuner."""

    def __init__(self, store: Any, calls: set[str], happens: Callable[[], None]) -> None:
        self._store, self._calls, self._happens, self._within = store, calls, happens, False

    def __getattr__(self, name: str) -> Any:
        if name in self._calls and not self._within:
            self._within = True
            self._happens()
            self._within = False
        return getattr(self._store, name)
