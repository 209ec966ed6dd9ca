"""What a user did: what is known in bulk, and what came since."""

from __future__ import annotations

from operator import itemgetter

from shared.data.seen import Doings
from shared.recipes.contract import Past
from shared.store import Interaction


def merged(bulk: list[Past], live: list[Interaction]) -> list[Past]:
    """One history, oldest first: what the model was trained on and what came since; an event in both counts once.

    Training keeps whole seconds, event types in lower case, and none where the bulk data has no such column.
    """
    known = set(bulk)
    news = [
        Past(one.item_id, one.sent_at, one.event_type.lower())
        for one in live
        if one.item_id is not None
        and known.isdisjoint(
            Past(one.item_id, int(one.sent_at), event_type) for event_type in (one.event_type.lower(), None)
        )
    ]
    # Sorted by time alone, and stably: events of one second stay in the order of their arrival.
    return sorted([*bulk, *news], key=lambda event: event.timestamp)


def newest(bulk: Doings, live: Doings, most: int) -> Doings:
    """Of both, the newest items of each event type, at most so many, with the time of the newest event of each."""
    found = {}
    for event_type in bulk.keys() | live.keys():
        old, new = bulk.get(event_type, {}), live.get(event_type, {})
        items = {**old, **new, **{item_id: max(old[item_id], new[item_id]) for item_id in old.keys() & new.keys()}}
        if len(items) > most:
            items = dict(sorted(items.items(), key=itemgetter(1), reverse=True)[:most])
        found[event_type] = items
    return found
