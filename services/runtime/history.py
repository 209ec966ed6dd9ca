"""What a user did: what the model was trained on, and what came since."""

from __future__ import annotations

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
