"""A user's live events as a store keeps them, all generations together."""

from __future__ import annotations

from collections.abc import Mapping

from shared.store import RECENT_LIMIT, Interaction, Store


def list_recent(store: Store, dataset: str, user_id: str) -> list[Interaction]:
    parts = store.get_recent_interactions(dataset, user_id).list_newer_than(-1)
    return [one for part in parts for one in part][-RECENT_LIMIT:]


def collect_seen(store: Store, dataset: str, user_id: str) -> Mapping[str, Mapping[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for part in store.get_seen_items(dataset, user_id).list_newer_than(-1):
        for event_type, items in part.items():
            known = found.setdefault(event_type, {})
            known.update({item: max(at, known.get(item, at)) for item, at in items.items()})
    return found
