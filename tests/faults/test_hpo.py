"""HPO with real workers, under real signals: trials are neither lost nor repeated, both limits hold all the while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from shared.store import Record
from shared.store.redis import RedisStore
from tests.conftest import ROOT, System, processes, start_system, stop_system, until
from tests.operations.conftest import HRNN, POPULARITY, Maker

SLEEPING = "arn:aws:personalize:::recipe/sleeping"
WORKERS = 3


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = start_system(
        tmp_path_factory.mktemp("trials"),
        "--training-workers",
        str(WORKERS),
        FORETASTE_LEASE_SECONDS="3",
        FORETASTE_RING_AFTER_SECONDS="2",
        FORETASTE_MAX_ATTEMPTS="50",
        FORETASTE_AUTOML_TRAINING_JOBS="4",
        FORETASTE_RECIPES="benchmarks.tuning.sleeping",
    )
    yield running
    stop_system(running)


@pytest.fixture(scope="module")
def make(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    group = make.group()
    job = make.imported(make.dataset(group), make.csv(rows=3000, users=150, items=30))
    assert job["status"] == "ACTIVE", job
    return group


@pytest.fixture(scope="module")
def store(system: System) -> RedisStore:
    conf = (system.folder / "redis" / "redis.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in conf if " " in line)
    return RedisStore(f"redis://:{settings['requirepass']}@127.0.0.1:{settings['port']}/0")


def tuned(make: Maker, group: str, recipe: str, jobs: int, at_once: int, **config: Any) -> str:
    """The version of a new solution with HPO."""
    resources = {"maxNumberOfTrainingJobs": str(jobs), "maxParallelTrainingJobs": str(at_once)}
    ranges = config.pop("ranges", {})
    hpo = {"hpoResourceConfig": resources, **({"algorithmHyperParameterRanges": ranges} if ranges else {})}
    solution = make.client.create_solution(
        name=make.name(),
        datasetGroupArn=group,
        recipeArn=recipe,
        performHPO=True,
        performAutoTraining=False,
        solutionConfig={"hpoConfig": hpo, **config},
    )["solutionArn"]
    return str(make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"])


def asleep(milliseconds: int) -> dict[str, Any]:
    return {"algorithmHyperParameters": {"milliseconds": str(milliseconds)}}


def trials(store: RedisStore, version: str) -> list[Record]:
    return store.list_page("trial", version)[0]


class Observer:
    """Looks at Redis all the time: the most leases at once, and at which attempt each trial was over."""

    def __init__(self, store: RedisStore, version: str) -> None:
        self.most = 0
        self.over: dict[str, int] = {}
        self._store, self._version = store, version
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.02):
            try:
                standing = trials(self._store, self._version)
                leases = [lease for trial in standing if (lease := self._store.get_lease(trial.arn))]
            except redis.exceptions.RedisError:  # it is being killed as well
                continue
            self.most = max(self.most, sum(lease.seconds_left > 0 for lease in leases))
            for trial in standing:
                if trial.status == "ACTIVE":
                    self.over.setdefault(trial.arn, trial.attempt)


def test_a_study_survives_the_death_of_everybody(system: System, make: Maker, group: str, store: RedisStore) -> None:
    version = tuned(make, group, SLEEPING, 10, WORKERS, **asleep(2000))
    victims = iter(["workers.tuning.app", "valkey-server", "services.status", "workers.tuning.app"])
    deadline = time.monotonic() + 100
    with Observer(store, version) as seen:
        while make.client.describe_solution_version(solutionVersionArn=version)["solutionVersion"]["status"] in (
            "CREATE PENDING",
            "CREATE IN_PROGRESS",
        ):
            assert time.monotonic() < deadline
            time.sleep(4)
            # The oldest of them: the supervisor keeps waiting who is killed again and again.
            for part in ("workers.training.app", next(victims, "")):
                for pid in sorted(processes(system, part))[:1] if part else []:
                    os.kill(pid, signal.SIGKILL)
    ended = make.settled("solution_version", "solutionVersion", version)
    assert ended["status"] == "ACTIVE", ended
    standing = trials(store, version)
    assert sorted(trial.body["number"] for trial in standing) == list(range(10))
    assert {trial.status for trial in standing} == {"ACTIVE"}
    assert len({trial.body["parameters"]["worth"] for trial in standing}) == 10
    assert 2 <= seen.most <= WORKERS
    assert {trial.arn: trial.attempt for trial in standing if trial.arn in seen.over} == seen.over
    best = max(standing, key=lambda trial: float(trial.body["parameters"]["worth"]))
    assert ended["tunedHPOParams"] == {"algorithmHyperParameters": {"worth": best.body["parameters"]["worth"]}}


def test_stopping_ends_what_runs_within_seconds(make: Maker, group: str, store: RedisStore) -> None:
    version = tuned(make, group, SLEEPING, 10, WORKERS, **asleep(60_000))
    until(lambda: sum(t.status == "CREATE IN_PROGRESS" for t in trials(store, version)) == WORKERS, 30, "the trials")
    asked = time.monotonic()
    make.client.stop_solution_version_creation(solutionVersionArn=version)
    assert make.settled("solution_version", "solutionVersion", version, 10)["status"] == "CREATE STOPPED"
    assert time.monotonic() - asked < 5
    assert [trial.status for trial in trials(store, version)] == ["CREATE STOPPED"] * WORKERS
    time.sleep(1)
    assert len(trials(store, version)) == WORKERS


def test_a_real_search_is_shown_and_served(system: System, make: Maker, group: str, store: RedisStore) -> None:
    """The guide's example, with the range of bptt of its first edition."""
    ranges = {
        "categoricalHyperParameterRanges": [{"name": "recency_mask", "values": ["true", "false"]}],
        "integerHyperParameterRanges": [{"name": "bptt", "minValue": 20, "maxValue": 40}],
        "continuousHyperParameterRanges": [],
    }
    fixed = {"algorithmHyperParameters": {"hidden_dimension": "55"}}
    version = tuned(make, group, HRNN, 4, 2, ranges=ranges, **fixed)
    ended = make.settled("solution_version", "solutionVersion", version, 600)
    assert ended["status"] == "ACTIVE", ended
    won = ended["tunedHPOParams"]["algorithmHyperParameters"]
    assert won.keys() == {"bptt", "recency_mask"}
    assert 20 <= int(won["bptt"]) <= 40
    standing = sorted(trials(store, version), key=lambda trial: trial.body["number"])
    assert len(standing) == 4
    assert standing[0].status == "ACTIVE"
    assert {trial.body["parameters"]["hidden_dimension"] for trial in standing} == {"55"}
    # What is told is rounded to 3.6 seconds.
    assert ended["trainingHours"] * 3600 >= sum(trial.state["progress"]["seconds"] for trial in standing) - 3.6
    metrics = make.client.get_solution_metrics(solutionVersionArn=version)["metrics"]
    assert metrics["normalized_discounted_cumulative_gain_at_25"] > 0.3
    shown = subprocess.run(
        [str(Path(sys.executable).with_name("foretaste")), "hpo", version],
        env={**os.environ, **system.environment, "COLUMNS": "160"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert all(trial.body["parameters"]["bptt"] in shown for trial in standing)


def test_automl_tries_what_has_data_and_takes_the_best(make: Maker, group: str, store: RedisStore) -> None:
    """Everybody goes round the items in one order: popularity knows nothing of that."""
    solution = make.client.create_solution(
        name=make.name(), datasetGroupArn=group, performAutoML=True, performAutoTraining=False
    )["solutionArn"]
    version = make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    ended = make.settled("solution_version", "solutionVersion", version, 600)
    assert ended["status"] == "ACTIVE", ended
    tried = sorted(trial.body["recipeArn"] for trial in trials(store, version))
    assert tried == [HRNN] * 2 + [POPULARITY, SLEEPING]
    assert ended["recipeArn"] == HRNN
    result = make.client.describe_solution(solutionArn=solution)["solution"]["autoMLResult"]
    assert result == {"bestRecipeArn": HRNN}
