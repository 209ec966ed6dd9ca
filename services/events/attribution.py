"""Select the part of sent events that the metric attribution of their dataset group reads."""

from __future__ import annotations

from collections.abc import Sequence

from shared.resources.metric_attribution.metrics import build_attributed_event, build_attribution_claim, read_metrics
from shared.store import Interaction, Store
from shared.store.attributions import AttributedEvents


def select_attributed(store: Store, group: str, interactions: Sequence[Interaction]) -> AttributedEvents | None:
    """Return what is to be queued of each event; None where the group has no attribution or its metrics read none."""
    arn = store.find_claim_holder(build_attribution_claim(group))
    record = store.get(arn) if arn else None
    if record is None:
        return None
    metrics = read_metrics(record)
    events = [
        build_attributed_event(
            one.event_type,
            one.item_id,
            one.sent_at,
            {"TIMESTAMP": one.sent_at, "EVENT_VALUE": one.event_value, **one.properties},
            metrics,
        )
        for one in interactions
    ]
    return AttributedEvents(attribution=record.arn, events=events) if any(events) else None
