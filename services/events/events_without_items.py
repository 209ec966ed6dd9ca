"""Report events without an item to the operator. They are accepted, as at AWS, but trainings and filters ignore them.

A metric counts all of them. Each process logs a line per event tracker and hour, with the keys that the client sent, so
that the author of the client can see under which key it sends the item.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from services.events.properties import parse_properties
from shared.observability import metrics

log = structlog.get_logger()

LOG_INTERVAL_SECONDS = 3600.0

#: Limits on the logged keys, because clients choose them.
MAX_KEYS = 20
MAX_KEY_CHARACTERS = 64

_lock = threading.Lock()

#: When a line was last logged for each tracker, by its ARN (monotonic seconds).
_logged_at: dict[str, float] = {}


def report_events(tracker: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Count events of one tracker, as they were sent, and log them unless that was done within the hour."""
    if not events:
        return
    metrics.EVENTS_WITHOUT_ITEM.inc(len(events))
    if _is_log_due(tracker):
        log.warning("events without an item", arn=tracker, events=len(events), keys=_list_keys(events))


def _is_log_due(tracker: str) -> bool:
    now = time.monotonic()
    with _lock:
        for known in [known for known, at in _logged_at.items() if now - at >= LOG_INTERVAL_SECONDS]:
            del _logged_at[known]
        is_news = tracker not in _logged_at
        _logged_at.setdefault(tracker, now)
        return is_news


def _list_keys(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the keys of the events, sorted; those within properties as ``properties.ITEM_ID``."""
    found = {key for event in events for key in event}
    found |= {
        f"properties.{key}" for event in events for key in parse_properties(event.get("properties"), "properties")
    }
    return [key[:MAX_KEY_CHARACTERS] for key in sorted(found)][:MAX_KEYS]
