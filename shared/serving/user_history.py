"""Merge a user's events: those trained on or imported, and the live ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter

from shared.data.live_index import LiveEvent
from shared.recipes.scoring_api import Past
from shared.serving.live_events import LiveEventReader
from shared.serving.model_cache import LoadedModel
from shared.store import Interaction
from shared.store.cached_store import UNREACHABLE

_TIME = attrgetter("timestamp")


def read_history(model: LoadedModel, user_id: str, live_events: LiveEventReader) -> Sequence[Past]:
    """Return the user's events, oldest first: those trained on, and the live ones.

    While the store is away and was never asked for this user, those trained on and the live ones that are in files.
    Raises the store's error for a user with none: there may be any number of live events.
    """
    trained = model.get_history(user_id)
    try:
        return merge_history(trained, live_events.read_recent(model.interactions, user_id))
    except UNREACHABLE:
        moved = live_events.read_moved(model.interactions, user_id)
        if not trained and not moved:
            raise
        return merge_history(trained, moved)


def merge_history(bulk: list[Past], live: Sequence[Interaction | LiveEvent]) -> list[Past]:
    """Return one history, oldest first: the events trained on and the live ones; an event in both counts once.

    Not to be changed: it is ``bulk`` itself where no live event is new.
    Training keeps whole seconds, event types in lower case, and no type where the bulk data have no such column.
    """
    if not live:
        return bulk
    # Most live events are newer than all events trained on: only the older ones can be duplicates or need sorting.
    newest_in_bulk = bulk[-1].timestamp if bulk else -math.inf
    known: set[Past] | None = None
    news = []
    for one in live:
        if one.item_id is None:
            continue
        event_type = one.event_type.lower()
        if (second := int(one.sent_at)) <= newest_in_bulk:
            known = set(bulk) if known is None else known
            if Past(one.item_id, second, event_type) in known or Past(one.item_id, second, None) in known:
                continue
        news.append(Past(one.item_id, one.sent_at, event_type))
    # Sorted by time alone, and stably: events of one second stay in the order of their arrival.
    news.sort(key=_TIME)
    if not news or news[0].timestamp >= newest_in_bulk:
        return bulk + news
    return sorted(bulk + news, key=_TIME)
