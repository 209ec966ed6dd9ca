"""Events that name no item. AWS takes them and so do we, but no training or filter can use one: the operator is told.

A counter has them all; the log has a line per event tracker and hour of each process, with the keys that were sent
instead, so that whoever wrote the client sees what it calls the item.
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

SILENT_SECONDS = 3600.0

#: Clients make them up: so many are told of, and so much of each.
MOST_KEYS = 20
KEY_CHARACTERS = 64

_lock = threading.Lock()

#: When a line was last written of each tracker, by its ARN; seconds of a clock that only goes forward.
_said: dict[str, float] = {}


def tell(tracker: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Count these events of one tracker, as they were sent, and log them where that was not done within the hour."""
    if not events:
        return
    metrics.EVENTS_WITHOUT_ITEM.inc(len(events))
    if _is_news(tracker):
        log.warning("events without an item", arn=tracker, events=len(events), keys=_keys(events))


def _is_news(tracker: str) -> bool:
    now = time.monotonic()
    with _lock:
        for known in [known for known, at in _said.items() if now - at >= SILENT_SECONDS]:
            del _said[known]
        is_news = tracker not in _said
        _said.setdefault(tracker, now)
        return is_news


def _keys(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """``properties.ITEM_ID``, sorted."""
    found = {key for event in events for key in event}
    found |= {f"properties.{key}" for event in events for key in parse_properties(event.get("properties"), "properties")}
    return [key[:KEY_CHARACTERS] for key in sorted(found)][:MOST_KEYS]
