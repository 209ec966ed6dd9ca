"""Merge a user's events: those trained on or imported, and the live ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter, itemgetter

from shared.recipes.scoring_api import Past
from shared.serving.model_cache import LoadedModel
from shared.serving.user_event_index import EventsByType, LazyEvents
from shared.store import Interaction, Store
from shared.store.cached_store import UNREACHABLE

_TIME = attrgetter("timestamp")


def read_history(model: LoadedModel, user_id: str, store: Store) -> Sequence[Past]:
    """Return the user's events, oldest first: those trained on, and the live ones.

    While the store is away and was never asked for this user, those trained on alone. Raises the store's error for a
    user with none: there may be any number of live events.
    """
    trained = model.get_history(user_id)
    try:
        return merge_history(trained, store.get_recent_interactions(model.interactions, user_id))
    except UNREACHABLE:
        if not trained:
            raise
        return trained


def merge_history(bulk: list[Past], live: list[Interaction]) -> list[Past]:
    """Return one history, oldest first: the events trained on and the live ones; an event in both counts once.

    Not to be changed: it is ``bulk`` itself where no live event is new.
    """
    named = [Past(one.item_id, one.sent_at, one.event_type.lower()) for one in live if one.item_id is not None]
    return merge_events(bulk, named)


def merge_events(bulk: list[Past], later: list[Past]) -> list[Past]:
    """Return ``merge_history`` of events with types in lower case, in the order of their arrival.

    Training keeps whole seconds, event types in lower case, and no type where the bulk data have no such column.
    """
    if not later:
        return bulk
    # Most of them are newer than all events trained on: only the older ones can be duplicates or need sorting.
    newest_in_bulk = bulk[-1].timestamp if bulk else -math.inf
    known: set[Past] | None = None
    news = []
    for one in later:
        if (second := int(one.timestamp)) <= newest_in_bulk:
            known = set(bulk) if known is None else known
            if Past(one.item_id, second, one.event_type) in known or Past(one.item_id, second, None) in known:
                continue
        news.append(one)
    # Sorted by time alone, and stably: events of one second stay in the order of their arrival.
    news.sort(key=_TIME)
    if not news or news[0].timestamp >= newest_in_bulk:
        return bulk + news
    return sorted(bulk + news, key=_TIME)


def merge_newest(bulk: EventsByType, live: EventsByType, most: int) -> EventsByType:
    """Return at most ``most`` newest items of each event type in both, with the time of the newest event of each."""
    return LazyEvents({event_type: partial(_merge_type, bulk, live, event_type, most) for event_type in {*bulk, *live}})


def _merge_type(bulk: EventsByType, live: EventsByType, event_type: str, most: int) -> Mapping[str, float]:
    old, new = bulk.get(event_type, {}), live.get(event_type, {})
    items = {**old, **new, **{item_id: max(old[item_id], new[item_id]) for item_id in old.keys() & new.keys()}}
    if len(items) > most:
        items = dict(sorted(items.items(), key=itemgetter(1), reverse=True)[:most])
    return items
