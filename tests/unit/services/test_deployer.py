"""The deployer beside odd models and a Redis that goes away: one campaign fails by them, the next is deployed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import redis.exceptions

from services.runtime import deployer
from services.runtime.deployed import Deployed, Model, NotDeployable
from shared.artifacts import Artifacts
from shared.lifecycle import ACTIVE, CREATE_PENDING
from shared.messages import Fact, Failed, Finished, Started
from shared.process import Process
from shared.queue import Queue
from shared.recipes import RECIPES
from shared.recipes.contract import Query
from shared.recipes.distribution import NEVER
from shared.recipes.popularity import scoring
from shared.resources import Reading
from shared.settings import Settings
from shared.store import Record
from shared.store.memory import MemoryStore

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"
POPULAR = RECIPES["aws-popularity-count"]
VERSION = f"{PREFIX}:solution/s/1"


class Answering:
    """A scorer with one answer to everything; an exception is raised instead."""

    def __init__(self, answer: list[float] | Exception, items: int | None = None) -> None:
        self._answer = answer
        self.item_ids = [f"i{n}" for n in range(items if isinstance(answer, Exception) else len(answer))]  # type: ignore[arg-type]

    def history(self, _: str) -> list[Any]:
        return []

    def scores(self, _: Query) -> npt.NDArray[np.float32]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return np.array(self._answer, np.float32)


def model(scorer: Answering) -> Model:
    datasets = {"INTERACTIONS": f"{PREFIX}:dataset/g/INTERACTIONS"}
    return Model(scorer, POPULAR, GROUP, datasets, threading.Lock())  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [[0.5, 0.5], [NEVER, 1.0], [NEVER], [NEVER, NEVER]])
def test_a_distribution_over_what_may_be_shown_can_be_deployed(answer: list[float]) -> None:
    deployer.canary(model(Answering(answer)))


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (Answering([0.5, 0.4]), "no distribution"),
        (Answering([0.5, float("nan")]), "no distribution"),
        (Answering([]), "has no items"),
        (Answering(KeyError("i0"), items=2), r"can't answer \(KeyError\)"),
        (Answering(RuntimeError("shapes"), items=2), r"can't answer \(RuntimeError\)"),
    ],
)
def test_whatever_else_a_model_does_makes_it_undeployable(scorer: Answering, message: str) -> None:
    with pytest.raises(NotDeployable, match=message):
        deployer.canary(model(scorer))


class Shaky(MemoryStore):
    """Can't be read so many times."""

    outages = 0

    def page(self, *args: Any, **more: Any) -> tuple[list[Record], str | None]:
        if self.outages:
            self.outages -= 1
            raise redis.exceptions.ConnectionError("away")
        return super().page(*args, **more)


class Applied:
    """Stands where the queue and the status service stand: what is sent is applied at once."""

    def __init__(self, store: MemoryStore, ending: threading.Event) -> None:
        self.facts: list[Fact] = []
        self._store, self._ending = store, ending

    def send(self, fact: Fact) -> None:
        self.facts.append(fact)
        if isinstance(fact, Finished):
            self._ending.set()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Process, Deployed, Shaky, Applied]:
    monkeypatch.setattr(deployer, "EVERY", 0.001)
    store, ending = Shaky(), threading.Event()
    applied = Applied(store, ending)
    settings = Settings()
    artifacts = Artifacts(tmp_path)
    process = Process(
        name="runtime@test",
        settings=settings,
        store=store,
        queue=cast(Queue, applied),
        artifacts=artifacts,
        ending=ending,
    )
    return process, Deployed(Reading(store, settings), artifacts), store, applied


def put(store: MemoryStore, arn: str, kind: str, status: str, **body: Any) -> Record:
    record = Record(arn=arn, kind=kind, status=status, created=1.0, updated=1.0, body=body)
    store.create(record, invocation=arn)
    return record


def test_a_model_that_breaks_while_it_is_loaded_fails_its_campaign_alone(
    world: tuple[Process, Deployed, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deployed, store, applied = world
    put(store, VERSION, "solution_version", ACTIVE, recipeArn=POPULAR.arn, datasetGroupArn=GROUP)
    monkeypatch.setattr(process.artifacts, "opened", lambda _: Path("/"))

    def broken(_: Path) -> None:
        raise KeyError("form")

    monkeypatch.setattr(scoring.Scorer, "load", broken)
    monkeypatch.setattr(deployer, "_wait_until_applied", lambda *_: None)
    arn = f"{PREFIX}:campaign/c"
    record = put(store, arn, "campaign", CREATE_PENDING, solutionVersionArn=VERSION)
    deployer.deploy(process, deployed, record, VERSION)
    assert [type(fact) for fact in applied.facts] == [Started, Failed]
    assert f"The model of {VERSION} can't be loaded (KeyError)" in cast(Failed, applied.facts[1]).reason


def test_a_runtime_that_starts_before_redis_deploys_when_redis_is_there(
    world: tuple[Process, Deployed, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deployed, store, applied = world
    monkeypatch.setattr(deployer, "_wait_until_applied", lambda *_: None)
    deployed._models[VERSION] = model(Answering([0.5, 0.5]))
    put(store, f"{PREFIX}:campaign/c", "campaign", CREATE_PENDING, solutionVersionArn=VERSION)
    store.outages = 3
    warm = threading.Event()
    running = threading.Thread(target=deployer._run, args=(process, deployed, warm), daemon=True)
    running.start()
    running.join(timeout=10)
    assert not running.is_alive()
    assert store.outages == 0
    assert warm.is_set()
    assert [type(fact) for fact in applied.facts] == [Started, Finished]
