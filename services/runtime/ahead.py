"""What a request reads of the store, read at one go: the campaign and the user's live events."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from services.runtime.served import CONFIGS, Served, Serving


def reading_ahead(serving: Serving, request: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Around ``served`` and ``query``. Which dataset the user's events are of is known from an earlier request."""
    arn = next((request[member] for member in CONFIGS if request.get(member)), None)
    dataset = serving.deployed.interactions.get(arn) if arn else None
    if arn is None or dataset is None or not request.get("userId"):
        return nullcontext()
    return serving.store.together(arn, dataset, request["userId"])


def answering(serving: Serving, asked: Served) -> None:
    """To be told after ``served``."""
    if asked.recipe.live:
        serving.deployed.interactions[asked.record.arn] = asked.model.interactions
