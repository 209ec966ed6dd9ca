"""The deployer beside odd models and a Redis that goes away: one campaign fails by them, the next is deployed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import redis.exceptions

from services.runtime import deployer, loader
from services.runtime.loader import ModelLoader, StillLoading
from services.runtime.warm_up import WarmUp
from shared.jobs.celery_app import MessageQueue
from shared.jobs.worker_process import WorkerProcess
from shared.recipes import RECIPES
from shared.recipes.distribution import NEVER
from shared.recipes.popularity import scoring
from shared.recipes.scoring_api import Query
from shared.resources import ResourceReader
from shared.serving.filters import FilterCache
from shared.serving.model_cache import LoadedModel, ModelCache, NotDeployable
from shared.serving.snapshots import SnapshotCache
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_PENDING
from shared.state.messages import Fact, Failed, Finished, Started
from shared.storage.artifacts import Artifacts
from shared.store import Record, Store
from shared.store.memory import MemoryStore
from tests.conftest import until
from tests.strict import STRICT

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


def model(scorer: Answering) -> LoadedModel:
    datasets = {"INTERACTIONS": f"{PREFIX}:dataset/g/INTERACTIONS"}
    return LoadedModel(scorer, POPULAR, GROUP, datasets)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [[0.5, 0.5], [NEVER, 1.0], [NEVER], [NEVER, NEVER]])
def test_a_distribution_over_what_may_be_shown_can_be_deployed(answer: list[float]) -> None:
    loader.run_canary_queries(model(Answering(answer)))


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
        loader.run_canary_queries(model(scorer))


class Shaky(MemoryStore):
    """Can't be read so many times."""

    outages = 0

    def list_page(self, *args: Any, **more: Any) -> tuple[list[Record], str | None]:
        if self.outages:
            self.outages -= 1
            raise redis.exceptions.ConnectionError("away")
        return super().list_page(*args, **more)


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
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WorkerProcess, ModelCache, Shaky, Applied]:
    monkeypatch.setattr(deployer, "EVERY", 0.001)
    store, ending = Shaky(), threading.Event()
    applied = Applied(store, ending)
    settings = Settings()
    artifacts = Artifacts(tmp_path)
    process = WorkerProcess(
        name="runtime@test",
        settings=settings,
        store=store,
        queue=cast(MessageQueue, applied),
        artifacts=artifacts,
        ending=ending,
    )
    return process, ModelCache(ResourceReader(store, settings), artifacts), store, applied


def nothing_to_prepare(deployed: ModelCache, store: Store) -> WarmUp:
    reading = ResourceReader(store, Settings())
    return WarmUp(
        deployed, FilterCache(reading, store, SnapshotCache(reading, store, Artifacts(Path("/nowhere")))), STRICT
    )


def put(store: MemoryStore, arn: str, kind: str, status: str, **body: Any) -> Record:
    record = Record(arn=arn, kind=kind, status=status, created=1.0, updated=1.0, body=body)
    store.create(record, invocation=arn)
    return record


def test_a_model_that_breaks_while_it_is_loaded_fails_its_campaign_alone(
    world: tuple[WorkerProcess, ModelCache, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deployed, store, applied = world
    put(store, VERSION, "solution_version", ACTIVE, recipeArn=POPULAR.arn, datasetGroupArn=GROUP)
    monkeypatch.setattr(process.artifacts, "open_artifact", lambda _: Path("/"))

    def broken(_: Path) -> None:
        raise KeyError("form")

    monkeypatch.setattr(scoring.Scorer, "load", broken)
    monkeypatch.setattr(deployer, "_wait_until_applied", lambda *_: None)
    arn = f"{PREFIX}:campaign/c"
    record = put(store, arn, "campaign", CREATE_PENDING, solutionVersionArn=VERSION)
    deployer.deploy_model(process, ModelLoader(deployed), nothing_to_prepare(deployed, store), record, VERSION)
    assert [type(fact) for fact in applied.facts] == [Started, Failed]
    assert f"The model of {VERSION} can't be loaded (KeyError)" in cast(Failed, applied.facts[1]).reason


def started(process: WorkerProcess, deployed: ModelCache, warm: threading.Event | None = None) -> threading.Thread:
    preparing = nothing_to_prepare(deployed, process.store)
    arguments = (process, deployed, ModelLoader(deployed), preparing, warm or threading.Event())
    running = threading.Thread(target=deployer._run_deployer, args=arguments, daemon=True)
    running.start()
    return running


def test_a_runtime_that_starts_before_redis_deploys_when_redis_is_there(
    world: tuple[WorkerProcess, ModelCache, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deployed, store, applied = world
    monkeypatch.setattr(deployer, "_wait_until_applied", lambda *_: None)
    deployed._models[VERSION] = model(Answering([0.5, 0.5]))
    put(store, f"{PREFIX}:campaign/c", "campaign", CREATE_PENDING, solutionVersionArn=VERSION)
    monkeypatch.setattr(deployer, "LOOK_EVERY", 0.0)
    store.outages = 3
    warm = threading.Event()
    running = started(process, deployed, warm)
    running.join(timeout=10)
    assert not running.is_alive()
    assert store.outages == 0
    assert warm.is_set()
    assert [type(fact) for fact in applied.facts] == [Started, Finished]


# What is loaded, and when


class Shelf(ModelCache):
    """Versions to load, each with its answer; loading waits until it may go on. ``loaded`` says what was, in order."""

    def __init__(self, **answers: list[float]) -> None:
        super().__init__(cast(Any, None), cast(Any, None))
        self.loaded: list[str] = []
        self.may = threading.Event()
        self.may.set()
        self._answers = answers

    def _load(self, version_arn: str) -> LoadedModel:
        assert self.may.wait(10)
        self.loaded.append(version_arn)
        if version_arn not in self._answers:
            raise NotDeployable(f"There is no {version_arn}.")
        return model(Answering(self._answers[version_arn]))


def test_a_request_waits_a_moment_for_a_model_and_finds_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "PATIENCE", 0.01)
    shelf = Shelf(v=[0.5, 0.5])
    shelf.may.clear()
    asked = ModelLoader(shelf)
    for _ in range(3):
        with pytest.raises(StillLoading):
            asked.wait_for_model("v")
    begun = asked.begin_loading("v")
    shelf.may.set()
    assert begun.result(10) is asked.wait_for_model("v")
    assert shelf.loaded == ["v"]


def test_a_model_that_cannot_be_loaded_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(odd=[0.5, 0.4])
    asked = ModelLoader(shelf)
    for version, why in (("none", "There is no none"), ("odd", "no distribution")):
        with pytest.raises(NotDeployable, match=why):
            asked.begin_loading(version).result(10)
    for _ in range(3):
        with pytest.raises(NotDeployable, match="There is no none"):
            asked.wait_for_model("none")
    assert shelf.loaded == ["none", "odd"]
    monkeypatch.setattr(loader.time, "monotonic", lambda now=loader.time.monotonic: now() + loader.BROKEN_FOR)
    with pytest.raises(NotDeployable):
        asked.wait_for_model("none")
    assert shelf.loaded == ["none", "odd", "none"]


def test_every_runtime_loads_what_answers_and_what_is_going_to(
    world: tuple[WorkerProcess, ModelCache, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another runtime holds the lease of the campaign in motion: this one has nothing to report."""
    process, _, store, applied = world
    shelf, warm = Shelf(old=[1.0], new=[1.0], later=[1.0]), threading.Event()
    campaign = f"{PREFIX}:campaign/"
    monkeypatch.setattr(deployer, "LOOK_EVERY", 0.01)
    put(store, f"{campaign}a", "campaign", ACTIVE, solutionVersionArn="old")
    put(store, f"{campaign}b", "campaign", CREATE_PENDING, solutionVersionArn="new")
    assert store.claim_lease(f"{campaign}b", "another", frozenset({CREATE_PENDING}), 60)
    running = started(process, shelf, warm)
    assert warm.wait(10)
    assert shelf.get_model("old")
    put(store, f"{campaign}c", "campaign", ACTIVE, solutionVersionArn="later")
    until(lambda: shelf.get_model("later") and shelf.get_model("new"), 10)
    process.ending.set()
    running.join(10)
    assert sorted(shelf.loaded) == ["later", "new", "old"]
    assert applied.facts == []


def test_a_campaign_of_another_release_does_not_keep_the_others_from_being_deployed(
    world: tuple[WorkerProcess, ModelCache, Shaky, Applied], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, deployed, store, applied = world
    monkeypatch.setattr(deployer, "_wait_until_applied", lambda *_: None)
    monkeypatch.setattr(deployer, "TIDY_EVERY", 0.0)
    deployed._models[VERSION] = model(Answering([0.5, 0.5]))
    put(store, f"{PREFIX}:campaign/a", "campaign", CREATE_PENDING, endpointArn="elsewhere")
    put(store, f"{PREFIX}:campaign/b", "campaign", ACTIVE)
    put(store, f"{PREFIX}:campaign/c", "campaign", CREATE_PENDING, solutionVersionArn=VERSION)
    deployer.start_deployer(process, deployed, ModelLoader(deployed), nothing_to_prepare(deployed, store))
    until(lambda: len(applied.facts) == 2, 10, "the one that can be deployed")
    assert process.threads.run_checks() == {"deployer": True}
    assert {fact.arn for fact in applied.facts} == {f"{PREFIX}:campaign/c"}
