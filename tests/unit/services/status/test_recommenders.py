"""A recommender's life in the API and the status service, with a store in memory and nobody who trains or serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from services.api.context import ApiContext
from services.api.custom import recommenders as api
from services.api.operations import create_resource, delete_resource, describe_resource
from services.runtime.deployer import get_awaited_version
from services.status import recommenders, schedule, transitions
from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound
from shared.http.app import Answer, Call
from shared.jobs.celery_app import MessageQueue
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.state.messages import AdvanceRecommender, Fact, Failed, Finished, Message, Started, TrainSolutionVersion
from shared.storage.artifacts import Artifacts
from shared.store import Conflict, Interaction, Record
from shared.store.memory import MemoryStore
from tests.strict import STRICT

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/films"
ARN = f"{PREFIX}:recommender/popular"
RECIPE = "arn:aws:personalize:::recipe/aws-vod-most-popular"
SCHEMA = """{"type": "record", "name": "Interactions", "fields": [
    {"name": "USER_ID", "type": "string"}, {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"}, {"name": "EVENT_TYPE", "type": "string"},
    {"name": "DEVICE", "type": ["null", "string"], "categorical": true}]}"""
COLUMNS = {"trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["DEVICE"]}}}
METRICS = {"coverage": 0.5}


class Sent:
    """Stands where the queue stands, and keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


class House:
    """A domain dataset group with interactions, and the two services."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.sent = Sent()
        settings = Settings()
        self.process = WorkerProcess(
            name="status@test",
            settings=settings,
            store=self.store,
            queue=cast(MessageQueue, self.sent),
            artifacts=Artifacts(folder),
            ending=threading.Event(),
        )
        self.reading = ResourceReader(self.store, settings)
        self.context = ApiContext(self.store, self.process.queue, self.reading)
        self._calls = 0
        self.put(GROUP, "dataset_group", {"name": "films", "domain": "VIDEO_ON_DEMAND"})
        self.put(f"{PREFIX}:schema/s", "schema", {"schema": SCHEMA, "domain": "VIDEO_ON_DEMAND"}, status=None)
        dataset = {"datasetType": "INTERACTIONS", "schemaArn": f"{PREFIX}:schema/s", "datasetGroupArn": GROUP}
        self.dataset = f"{PREFIX}:dataset/films/INTERACTIONS"
        self.put(self.dataset, "dataset", dataset, parents=(GROUP,))

    def put(self, arn: str, kind: str, body: Mapping[str, Any], status: str | None = ACTIVE, **more: Any) -> None:
        record = Record(arn=arn, kind=kind, status=status, created=1.0, updated=1.0, body=body, **more)
        self.store.create(record, invocation=arn)

    def call(self, operation: str, **request: Any) -> Call:
        self._calls += 1
        return Call(operation=operation, request=request, request_id="", invocation=str(self._calls))

    def create(self, **config: Any) -> str:
        request = {"name": "popular", "datasetGroupArn": GROUP, "recipeArn": RECIPE}
        if config:
            request["recommenderConfig"] = config
        made = create_resource(self.context, RESOURCES["recommender"], self.call("CreateRecommender", **request))
        return str(made["recommenderArn"])

    def record(self, arn: str = ARN) -> Record:
        found = self.store.get(arn)
        assert found is not None
        return found

    def version(self) -> Record:
        record = self.record()
        body = record.update.body if record.update and record.in_progress == record.update.status else record.body
        return self.record(body["solutionVersionArn"])

    def answered(self) -> Answer:
        return describe_resource(
            self.context, RESOURCES["recommender"], self.call("DescribeRecommender", recommenderArn=ARN)
        )

    def described(self) -> Mapping[str, Any]:
        """Without the members that AWS's answer leaves out."""
        members = cast(Mapping[str, Any], self.answered().members["recommender"])
        return {member: value for member, value in members.items() if value is not None}

    def hear(self, fact: Fact) -> None:
        transitions.write_transition(self.store, fact)
        recommenders.advance_after_fact(self.process, fact)

    def advance(self) -> None:
        recommenders.advance_recommender(self.process, ARN)

    def train(self) -> None:
        version = self.version()
        self.hear(Finished(arn=version.arn, attempt=version.attempt, outcome={"metrics": METRICS, "seconds": 1.0}))

    def deploy(self) -> None:
        assert get_awaited_version(self.record(), self.store) == self.version().arn
        self.hear(Started(arn=ARN, attempt=self.record().attempt))
        self.hear(Finished(arn=ARN, attempt=self.record().attempt))

    def active(self, **config: Any) -> None:
        self.create(**config)
        self.advance()
        self.train()
        self.deploy()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_it_is_trained_then_loaded_then_active(house: House) -> None:
    assert house.create() == ARN
    assert house.sent.messages == [AdvanceRecommender(arn=ARN)]
    assert house.described()["status"] == CREATE_PENDING
    house.advance()
    version = house.version()
    assert house.sent.messages[1:] == [TrainSolutionVersion(arn=version.arn)]
    assert (version.status, house.record().status) == (CREATE_PENDING, CREATE_IN_PROGRESS)
    assert get_awaited_version(house.record(), house.store) is None  # a runtime has nothing to load yet
    house.train()
    assert "modelMetrics" not in house.described()
    house.deploy()
    described = house.described()
    assert described["status"] == ACTIVE
    assert described["modelMetrics"] == METRICS
    assert described["recommenderConfig"] == {"minRecommendationRequestsPerSecond": 1}
    assert "latestRecommenderUpdate" not in described


def test_to_be_seen_to_again_trains_once(house: House) -> None:
    house.create()
    for _ in range(3):
        house.advance()
    assert house.sent.messages.count(TrainSolutionVersion(arn=house.version().arn)) == 1


def test_a_training_that_fails_says_why(house: House) -> None:
    house.create()
    house.advance()
    version = house.version()
    house.hear(Failed(arn=version.arn, attempt=version.attempt, reason="Dataset has fewer than 25 users."))
    assert house.record().status == CREATE_FAILED
    assert house.described()["failureReason"] == "Dataset has fewer than 25 users."


def test_no_runtime_takes_it_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.create()
    house.advance()
    house.train()
    later = time.time() + house.process.settings.deploy_deadline_seconds + 1
    monkeypatch.setattr(house.process.store, "_clock", lambda: later)
    house.advance()
    assert "No runtime" in (house.record().reason or "")


def test_stop_and_start_go_through_all_six_states_without_training(house: House) -> None:
    house.active()
    trained = len(house.sent.messages)
    seen = []
    for operation, switch in (("StopRecommender", api.stop_recommender), ("StartRecommender", api.start_recommender)):
        switch(house.context, house.call(operation, recommenderArn=ARN))
        seen.append(house.record().status)
        with pytest.raises(ResourceInUse):
            switch(house.context, house.call(operation, recommenderArn=ARN))
        with pytest.raises(ResourceInUse):
            delete_resource(
                house.context, RESOURCES["recommender"], house.call("DeleteRecommender", recommenderArn=ARN)
            )
        if operation == "StopRecommender":
            assert get_awaited_version(house.record(), house.store) is None
            house.advance()
        else:
            house.advance()
            assert house.record().status == "START PENDING"  # until a runtime has the model
            house.deploy()
        seen.append(house.record().status)
        with pytest.raises(InvalidInput, match="nothing to"):
            switch(house.context, house.call(operation, recommenderArn=ARN))
    assert seen == ["STOP PENDING", "INACTIVE", "START PENDING", "ACTIVE"]
    assert not [m for m in house.sent.messages[trained:] if isinstance(m, TrainSolutionVersion)]


def test_a_model_that_cannot_be_loaded_stays_stopped_and_says_why(house: House) -> None:
    house.active()
    api.stop_recommender(house.context, house.call("StopRecommender", recommenderArn=ARN))
    house.advance()
    api.start_recommender(house.context, house.call("StartRecommender", recommenderArn=ARN))
    house.hear(Failed(arn=ARN, attempt=house.record().attempt, reason="The model is damaged."))
    assert house.described()["status"] == "INACTIVE"
    assert "failureReason" not in house.described()  # AWS has it of failed statuses alone
    assert house.answered().headers["x-foretaste-failure"] == '"The model is damaged."'


def test_an_update_of_the_columns_retrains_while_the_old_model_serves(house: House) -> None:
    house.active()
    old = house.record().body["solutionVersionArn"]
    update = {"recommenderArn": ARN, "recommenderConfig": COLUMNS}
    api.update_recommender(house.context, house.call("UpdateRecommender", **update))
    house.advance()
    described = house.described()
    assert described["status"] == ACTIVE
    assert described["latestRecommenderUpdate"]["status"] == CREATE_IN_PROGRESS
    assert described["latestRecommenderUpdate"]["recommenderConfig"] == {
        "minRecommendationRequestsPerSecond": 1,
        **COLUMNS,
    }
    assert house.record().body["solutionVersionArn"] == old
    assert house.version().body["solutionConfig"] == COLUMNS
    house.train()
    house.deploy()
    assert house.record().body["solutionVersionArn"] != old
    assert house.store.get(old) is None
    assert house.described()["latestRecommenderUpdate"]["status"] == ACTIVE
    assert house.described()["recommenderConfig"] == {"minRecommendationRequestsPerSecond": 1, **COLUMNS}


def test_an_update_that_fails_leaves_it_as_it_was(house: House) -> None:
    house.active()
    before = house.record()
    update = {"recommenderArn": ARN, "recommenderConfig": COLUMNS}
    api.update_recommender(house.context, house.call("UpdateRecommender", **update))
    house.advance()
    version = house.version()
    house.hear(Failed(arn=version.arn, attempt=version.attempt, reason="No."))
    described = house.described()
    assert described["status"] == ACTIVE
    assert described["latestRecommenderUpdate"]["failureReason"] == "No."
    assert house.record().body == before.body
    assert house.store.get(version.arn) is None


def test_a_superseded_model_that_something_moves_is_removed_the_next_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.active()
    old = house.version().arn

    def moved(record: Record) -> None:
        raise Conflict(record.arn)

    monkeypatch.setattr(house.store, "remove", moved)
    update = {"recommenderArn": ARN, "recommenderConfig": COLUMNS}
    api.update_recommender(house.context, house.call("UpdateRecommender", **update))
    house.advance()
    house.train()
    house.deploy()
    assert (house.record().in_progress, house.record(old).kind) == (None, "recommender_version")
    monkeypatch.undo()
    update["recommenderConfig"] = {"minRecommendationRequestsPerSecond": 2, **COLUMNS}
    api.update_recommender(house.context, house.call("UpdateRecommender", **update))
    house.deploy()
    assert house.store.get(old) is None


def test_an_update_of_the_rest_does_not_retrain(house: House) -> None:
    house.active()
    update = {"recommenderArn": ARN, "recommenderConfig": {"minRecommendationRequestsPerSecond": 7}}
    trained = house.record().body["solutionVersionArn"]
    api.update_recommender(house.context, house.call("UpdateRecommender", **update))
    house.advance()
    house.deploy()
    assert house.described()["recommenderConfig"] == {"minRecommendationRequestsPerSecond": 7}
    assert house.record().body["solutionVersionArn"] == trained


def test_an_update_that_changes_nothing_is_refused(house: House) -> None:
    house.active()
    update = {"recommenderArn": ARN, "recommenderConfig": {"minRecommendationRequestsPerSecond": 1}}
    with pytest.raises(InvalidInput, match="already"):
        api.update_recommender(house.context, house.call("UpdateRecommender", **update))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"recipeArn": "arn:aws:personalize:::recipe/aws-hrnn"}, InvalidInput, "no use case"),
        (
            {"recipeArn": "arn:aws:personalize:::recipe/aws-ecomm-popular-items-by-views"},
            InvalidInput,
            "of the domain ECOMMERCE",
        ),
        ({"recipeArn": "arn:aws:personalize:::recipe/aws-none"}, ResourceNotFound, "does not exist"),
        ({"datasetGroupArn": f"{PREFIX}:dataset-group/none"}, ResourceNotFound, "does not exist"),
        ({"recipeArn": "arn:aws:personalize:::recipe/aws-vod-more-like-x"}, InvalidInput, "no ITEMS"),
        (
            {"recommenderConfig": {"itemExplorationConfig": {"explorationWeight": "0.3"}}},
            InvalidInput,
            "does not explore",
        ),
        (
            {"recommenderConfig": {"trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["NONE"]}}}},
            InvalidInput,
            "NONE",
        ),
    ],
)
def test_what_create_refuses(house: House, change: dict[str, Any], error: type[Exception], text: str) -> None:
    request = {"name": "r", "datasetGroupArn": GROUP, "recipeArn": RECIPE, **change}
    with pytest.raises(error, match=text):
        create_resource(house.context, RESOURCES["recommender"], house.call("CreateRecommender", **request))
    assert house.store.list_page("recommender")[0] == []


def test_it_waits_for_its_data(house: House) -> None:
    house.put(f"{PREFIX}:dataset-import-job/j", "dataset_import_job", {}, CREATE_IN_PROGRESS, parents=(house.dataset,))
    with pytest.raises(ResourceInUse, match="import"):
        house.create()
    group = house.record(GROUP)
    house.store.replace(replace(group, body={"name": "films"}))
    with pytest.raises(InvalidInput, match="no domain"):
        house.create()


def test_deleted_it_takes_its_model_along(house: House) -> None:
    house.active()
    model = house.version().arn
    delete_resource(house.context, RESOURCES["recommender"], house.call("DeleteRecommender", recommenderArn=ARN))
    command = house.sent.messages[-1]
    transitions.remove_resource(house.store, house.process.artifacts, cast(Any, command))
    assert house.store.get(ARN) is None
    assert house.store.get(model) is None


def test_it_is_trained_anew_each_week_when_there_is_news(house: House) -> None:
    house.active()
    model, begun = house.version().arn, house.version().created
    week = schedule.RECOMMENDER_DAYS * schedule.DAY
    schedule.check_schedules(house.process, begun + week + 1, STRICT)
    assert house.record().update is None  # nothing has come since
    event = Interaction(user_id="u", session_id="s", item_id="i", event_type="Watch", event_value=None, sent_at=1.0)
    house.store.append_interactions(house.dataset, [event], invocation="1")
    schedule.check_schedules(house.process, begun + week - 1, STRICT)
    assert house.record().update is None  # not yet
    schedule.check_schedules(house.process, begun + week + 1, STRICT)
    house.advance()
    assert house.described()["status"] == ACTIVE
    house.train()
    house.deploy()
    assert house.version().arn != model


def test_a_weekly_training_that_fails_waits_for_the_next_week(house: House) -> None:
    house.active()
    due = house.version().created + schedule.RECOMMENDER_DAYS * schedule.DAY + 1
    event = Interaction(user_id="u", session_id="s", item_id="i", event_type="Watch", event_value=None, sent_at=1.0)
    house.store.append_interactions(house.dataset, [event], invocation="1")
    schedule.check_schedules(house.process, due, STRICT)
    house.advance()
    version = house.version()
    house.hear(Failed(arn=version.arn, attempt=version.attempt, reason="Dataset has fewer than 25 users."))
    failed = house.record().update
    assert failed is not None
    assert failed.status == CREATE_FAILED
    house.store.replace(replace(house.record(), update=replace(failed, created=due)))
    schedule.check_schedules(house.process, due + schedule.EVERY, STRICT)
    assert house.record().in_progress is None
    schedule.check_schedules(house.process, due + schedule.RECOMMENDER_DAYS * schedule.DAY, STRICT)
    assert house.record().in_progress == CREATE_PENDING


def test_a_stopped_one_is_not_trained_anew(house: House) -> None:
    house.active()
    api.stop_recommender(house.context, house.call("StopRecommender", recommenderArn=ARN))
    house.advance()
    event = Interaction(user_id="u", session_id="s", item_id="i", event_type="Watch", event_value=None, sent_at=1.0)
    house.store.append_interactions(house.dataset, [event], invocation="1")
    schedule.check_schedules(house.process, time.time() + 30 * schedule.DAY, STRICT)
    assert house.record().update is None
