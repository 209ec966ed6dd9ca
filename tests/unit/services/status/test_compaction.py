"""When the live events of a dataset are moved to files, and that a worker is told so once and not all the time."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.status import compaction
from shared.settings import Settings
from shared.state.messages import CompactEvents
from shared.store import Interaction
from tests.strict import STRICT
from tests.unit.shared.resources.standing import INTERACTIONS, Standing

FIELDS = [
    {"name": "USER_ID", "type": "string"},
    {"name": "ITEM_ID", "type": "string"},
    {"name": "TIMESTAMP", "type": "long"},
]


class Watching(Standing):
    """A dataset group with Interactions, where three events are many, and rounds of the task."""

    def __init__(self) -> None:
        super().__init__()
        self.dataset("Interactions", FIELDS)
        self.process = replace(self.process, settings=Settings(live_events_most=3))
        self.sent: compaction.SentAt = {}
        self.events = 0

    def send_events(self, number: int) -> None:
        event = Interaction(user_id="u", session_id="s", item_id="i", event_type="watch", event_value=None, sent_at=1.0)
        self.events += number
        self.store.append_interactions(INTERACTIONS, [event] * number, invocation=str(self.events))

    def look(self) -> list[object]:
        """Run a round and return what it sent."""
        before = len(self.queue.messages)
        compaction.start_due_compactions(self.process, self.sent, STRICT)
        return list(self.queue.messages[before:])


@pytest.fixture
def watching() -> Watching:
    return Watching()


def test_many_events_are_moved_and_few_are_not(watching: Watching) -> None:
    assert watching.look() == []
    watching.send_events(2)
    assert watching.look() == []
    watching.send_events(1)
    assert watching.look() == [CompactEvents(arn=INTERACTIONS)]


def test_old_events_are_moved_however_few(watching: Watching, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.send_events(1)
    now = time.time() + Settings().live_events_age
    monkeypatch.setattr(watching.store, "now", lambda: now - 60)
    assert watching.look() == []
    monkeypatch.setattr(watching.store, "now", lambda: now + 60)
    assert watching.look() == [CompactEvents(arn=INTERACTIONS)]


def test_the_message_is_sent_again_after_a_while_where_none_waits(watching: Watching) -> None:
    watching.send_events(3)
    assert len(watching.look()) == 1
    assert watching.look() == []
    watching.sent[INTERACTIONS] -= Settings().ring_after_seconds
    assert watching.look() == []
    watching.queue.messages.clear()
    assert len(watching.look()) == 1
    assert watching.look() == []


def test_events_that_come_after_a_compaction_are_moved_at_once(watching: Watching) -> None:
    watching.send_events(3)
    watching.look()
    watching.store.clear_dataset(INTERACTIONS)
    assert watching.look() == []
    watching.send_events(3)
    assert len(watching.look()) == 1
