"""Merge what filters know of a user: the newest items of each event type, from several sources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import itemgetter

from shared.serving.user_event_index import EventsByType, LazyEvents


def merge_newest(bulk: EventsByType, live: EventsByType, most: int) -> EventsByType:
    """Return at most ``most`` newest items of each event type in both, with the time of the newest event of each.

    Of items with one time the last ones by their ids count, as in Redis: so it does not matter in which parts the
    events of a user come.
    """
    return LazyEvents({event_type: partial(_merge_type, bulk, live, event_type, most) for event_type in {*bulk, *live}})


def _merge_type(bulk: EventsByType, live: EventsByType, event_type: str, most: int) -> Mapping[str, float]:
    old, new = bulk.get(event_type, {}), live.get(event_type, {})
    items = {**old, **new, **{item_id: max(old[item_id], new[item_id]) for item_id in old.keys() & new.keys()}}
    if len(items) > most:
        items = dict(sorted(items.items(), key=itemgetter(1, 0), reverse=True)[:most])
    return items
