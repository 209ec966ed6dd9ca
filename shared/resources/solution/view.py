"""The members of DescribeSolution from other records: the version created last, and the result of AutoML."""

from __future__ import annotations

from typing import Any

from shared.resources.resource_type import ResourceReader
from shared.state.lifecycle import ACTIVE
from shared.store import Record


def view_solution(record: Record, reader: ResourceReader) -> dict[str, Any]:
    newest, _ = reader.records.list_page("solution_version", record.arn, limit=1)
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
        **_get_automl_result(record, reader),
    }


def _get_automl_result(record: Record, reader: ResourceReader) -> dict[str, Any]:
    if not record.body.get("performAutoML"):
        return {}
    trained = (v for v in reader.iter_children("solution_version", record.arn) if v.status == ACTIVE)
    best = next(trained, None)
    return {"autoMLResult": {"bestRecipeArn": best.body["recipeArn"]}} if best else {}
