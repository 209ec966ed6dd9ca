"""The members of DescribeRecommender from other records: the metrics of the model that answers."""

from __future__ import annotations

from typing import Any

from shared.resources.resource_type import ResourceReader
from shared.state.lifecycle import CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_PENDING, DELETE_IN_PROGRESS, DELETE_PENDING
from shared.store import Record

#: The statuses in which AWS leaves modelMetrics out: there is no model, or soon none.
WITHOUT_METRICS = frozenset({CREATE_PENDING, CREATE_IN_PROGRESS, CREATE_FAILED, DELETE_PENDING, DELETE_IN_PROGRESS})


def view_recommender(record: Record, reader: ResourceReader) -> dict[str, Any]:
    if record.status in WITHOUT_METRICS:
        return {}
    version = reader.records.get(record.body["solutionVersionArn"])
    return {"modelMetrics": version.state.get("metrics") if version else None}
