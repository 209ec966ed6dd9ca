"""What DescribeSolution reads from other records: the version that was created last, and what AutoML has come to."""

from __future__ import annotations

from typing import Any

from shared.resources.resource_type import ResourceReader
from shared.state.lifecycle import ACTIVE
from shared.store import Record


def view_solution(record: Record, reading: ResourceReader) -> dict[str, Any]:
    newest, _ = reading.records.list_page("solution_version", record.arn, limit=1)
    if not newest:
        return {}
    version = newest[0]
    return {
        "latestSolutionVersion": {
            "solutionVersionArn": version.arn,
            "status": version.status,
            "trainingMode": version.body["trainingMode"],
            "trainingType": version.body["trainingType"],
            "creationDateTime": version.created,
            "lastUpdatedDateTime": version.updated,
            "failureReason": version.reason,
        },
        **_get_automl_result(record, reading),
    }


def _get_automl_result(record: Record, reading: ResourceReader) -> dict[str, Any]:
    if not record.body.get("performAutoML"):
        return {}
    trained = (v for v in reading.iter_children("solution_version", record.arn) if v.status == ACTIVE)
    best = next(trained, None)
    return {"autoMLResult": {"bestRecipeArn": best.body["recipeArn"]}} if best else {}
