"""What crosses the queue: names that queued messages rely on, fields that survive JSON, poison that does no harm."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import redis
from celery import Celery

from shared.jobs import celery_app
from shared.settings import Settings
from shared.state import messages
from shared.state.messages import Failed, Finished, ImportDataset, Message, Progressed, Started, TrainSolutionVersion
from shared.store.record_codec import read_outbox_entry, write_outbox_entry

#: Messages of the last release may still lie in a queue: a name may be added here, never changed.
NAMES = {
    "importing.import_dataset": {"arn"},
    "importing.export_dataset": {"arn"},
    "importing.delete_users": {"arn"},
    "importing.compact_events": {"arn"},
    "training.train_solution_version": {"arn"},
    "training.run_trial": {"arn"},
    "tuning.tune_solution_version": {"arn"},
    "inference.run_batch_inference": {"arn"},
    "inference.run_batch_segment": {"arn"},
    "inference.help_batch_job": {"arn"},
    "status.provision": {"arn"},
    "status.advance_recommender": {"arn"},
    "status.remove": {"arn"},
    "status.started": {"arn", "attempt"},
    "status.progressed": {"arn", "attempt", "progress"},
    "status.finished": {"arn", "attempt", "outcome"},
    "status.failed": {"arn", "attempt", "reason"},
    "status.stopped": {"arn", "attempt"},
}

EXAMPLES: list[Message] = [
    ImportDataset(arn="a"),
    Started(arn="a", attempt=1),
    Progressed(arn="a", attempt=1, progress={"epoch": 1, "loss": 2.5, "phase": "training"}),
    Finished(arn="a", attempt=2, outcome={"metrics": {"coverage": 0.5}, "seconds": 1.5}),
    Failed(arn="a", attempt=3, reason="größer\u2028"),
]


def test_the_names_and_fields_on_the_wire_are_kept() -> None:
    assert {
        wire: {field.name for field in dataclasses.fields(message)} for wire, message in messages.BY_WIRE.items()
    } == NAMES


@pytest.mark.parametrize("message", EXAMPLES)
def test_a_note_survives_being_written_down(message: Message) -> None:
    written = celery_app.build_outbox_entry(message)
    assert read_outbox_entry(written.id, write_outbox_entry(written)) == written


def test_the_same_message_has_the_same_note_and_another_attempt_another() -> None:
    assert (
        celery_app.build_outbox_entry(Started(arn="a", attempt=1)).id
        == celery_app.build_outbox_entry(Started(arn="a", attempt=1)).id
    )
    assert (
        celery_app.build_outbox_entry(Started(arn="a", attempt=1)).id
        != celery_app.build_outbox_entry(Started(arn="a", attempt=2)).id
    )
    assert (
        celery_app.build_outbox_entry(Started(arn="a", attempt=1)).id
        != celery_app.build_outbox_entry(Finished(arn="a", attempt=1)).id
    )


@pytest.fixture
def sending(redis_server: str) -> celery_app.MessageQueue:
    redis.Redis.from_url(redis_server).flushall()
    return celery_app.MessageQueue(celery_app.create_celery_app(Settings(redis_url=redis_server)))


def test_a_message_waits_on_the_queue_of_its_name_as_json(sending: celery_app.MessageQueue, redis_server: str) -> None:
    assert sending.count_waiting("training") == 0
    sending.send(TrainSolutionVersion(arn="arn:x"))
    assert (sending.count_waiting("training"), sending.count_waiting("importing")) == (1, 0)
    client: Any = redis.Redis.from_url(redis_server)
    [key] = [key for key in client.scan_iter() if key.endswith(b"training") and client.type(key) == b"list"]
    envelope = json.loads(client.lrange(key, 0, -1)[0])
    assert envelope["content-type"] == "application/json"
    assert envelope["headers"]["task"] == "training.train_solution_version"


def test_a_message_that_lacks_a_field_is_dropped_and_one_too_many_passed_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handled: list[Message] = []
    task = Celery(set_as_current=False).task(celery_app._create_task(Started, handled.append), bind=True)
    task(arn="a", attempt=1)
    task(arn="a", attempt=1, colour="red")
    task(arn="a")
    assert handled == [Started(arn="a", attempt=1)] * 2
    assert "message not understood" in capsys.readouterr().out


def test_a_message_has_one_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app, "_handlers", {})
    declare = celery_app.register_handler(ImportDataset)
    declare(lambda _message: None)
    with pytest.raises(ValueError, match="handler already"):
        declare(lambda _message: None)
