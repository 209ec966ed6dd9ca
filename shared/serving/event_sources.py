"""Find the source that a metric attribution counts an event under: its own, or the campaign of its recommendation."""

from __future__ import annotations

from collections.abc import Mapping

from shared.resources import ResourceReader
from shared.resources.metric_attribution.metrics import UNDEFINED
from shared.serving.recommendation_ids import digest_endpoint, read_endpoint_digest
from shared.store import Store


class EventSources:
    """The sources of the events of one attribution. Campaigns are read when the first digest comes."""

    def __init__(self, attribution: str, reader: ResourceReader, store: Store) -> None:
        self._attribution = attribution
        self._reader = reader
        self._store = store
        self._by_digest: dict[str, str] | None = None

    def find_source(self, source: str | None, recommendation_id: str | None) -> str:
        """Return the source of an event with these members."""
        if source:
            return source
        digest = read_endpoint_digest(recommendation_id) if recommendation_id else None
        return self.read_endpoints().get(digest, UNDEFINED) if digest else UNDEFINED

    def read_endpoints(self) -> Mapping[str, str]:
        """Return digest -> ARN of all campaigns and recommenders; they are read once."""
        if self._by_digest is None:
            # Those that were deleted since are still known by the recommendations that they gave.
            arns = [
                *self._store.list_recommendation_totals(self._attribution),
                *(
                    one.arn
                    for noun in ("campaign", "recommender")
                    for one in self._reader.iter_children(noun, whole=False)
                ),
            ]
            self._by_digest = {digest_endpoint(arn): arn for arn in arns}
        return self._by_digest
