"""The events that a solution trains on, and their weights: eventType, eventValueThreshold and eventsConfig.

The training itself checks whether there are such events: they may be imported later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from shared.aws.errors import InvalidInput
from shared.data.schemas import Field
from shared.recipes import Recipe

#: Columns of the Interactions dataset by name; None while the group has none.
DatasetColumns = Mapping[str, Field] | None


def check_events(
    recipe: Recipe,
    config: Mapping[str, Any],
    event_type: str | None,
    columns: DatasetColumns,
    excluded: frozenset[str] = frozenset(),
) -> None:
    """Raise InvalidInput for invalid events. ``excluded``: the columns that are not trained on."""
    threshold = config.get("eventValueThreshold")
    if threshold is not None:
        _check_number(threshold)
        _check_columns("eventValueThreshold", ("EVENT_TYPE", "EVENT_VALUE"), columns, excluded)
    if events := config.get("eventsConfig"):
        if not recipe.training.takes_events_config:
            raise InvalidInput(f"{recipe.name} does not take solutionConfig.eventsConfig: leave it out.")
        if event_type or threshold is not None:
            raise InvalidInput("eventsConfig stands in place of eventType and eventValueThreshold: leave those out.")
        _check_parameters(events.get("eventParametersList") or (), columns, excluded)


def _check_number(text: str) -> None:
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        finite = False
    if not finite:
        raise InvalidInput(f"eventValueThreshold must be a number, written as a string; it is {text!r}.")


def _check_parameters(events: Sequence[Mapping[str, Any]], columns: DatasetColumns, excluded: frozenset[str]) -> None:
    types = [event.get("eventType", "") for event in events]
    if not types or not all(types):
        raise InvalidInput("eventsConfig needs at least one event, and each event its eventType.")
    if len({event_type.lower() for event_type in types}) < len(types):
        raise InvalidInput("eventsConfig names an event type twice; upper and lower case do not tell types apart.")
    if not any(event.get("weight", 1.0) for event in events):
        raise InvalidInput("eventsConfig gives every event type the weight 0: nothing would be learned.")
    needed = ("EVENT_TYPE", *(("EVENT_VALUE",) if any("eventValueThreshold" in event for event in events) else ()))
    _check_columns("eventsConfig", needed, columns, excluded)


def _check_columns(member: str, needed: tuple[str, ...], columns: DatasetColumns, excluded: frozenset[str]) -> None:
    for name in needed:
        if columns is not None and name not in columns:
            raise InvalidInput(f"{member} needs a column {name}; the Interactions schema has none.")
        if name in excluded:
            raise InvalidInput(f"{member} needs the column {name}: do not exclude it.")
