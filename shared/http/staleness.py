"""The header ``x-foretaste-stale``: it marks answers that were made from memory while the store did not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.http.app import Answer, Call, OperationHandler
from shared.store.cached_store import CachedStore

STALENESS_HEADER = "x-foretaste-stale"


def with_staleness_header(store: CachedStore, handler: OperationHandler) -> OperationHandler:
    """Wrap a handler that reads from ``store``: mark stale answers with how long (seconds) the store has been away."""

    def handle_call(call: Call) -> Mapping[str, Any] | Answer | None:
        with store.begin_request() as reads:
            answer = handler(call)
            stale = reads.stale
        if stale is None or isinstance(answer, Answer):
            return answer
        return Answer(members=answer or {}, headers={STALENESS_HEADER: f"{stale:.1f}"})

    return handle_call
