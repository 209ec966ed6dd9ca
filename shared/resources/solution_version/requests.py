"""What CreateSolutionVersion checks beyond the service model, and what a finished training adds to the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import arns, recipes
from shared.aws.errors import InvalidInput, ResourceInUse
from shared.resources.contract import Draft, Reading, settled
from shared.resources.dataset_import_job import current
from shared.store import Record

FULL = "FULL"
MANUAL = "MANUAL"
REPEATED = ("recipeArn", "eventType", "datasetGroupArn", "solutionConfig", "performHPO", "performAutoML")


def draft(request: Mapping[str, Any], reading: Reading) -> Draft:
    solution = reading.active(request["solutionArn"], "solution")
    group_arn = solution.body["datasetGroupArn"]
    datasets = tuple(reading.children("dataset", group_arn))
    for dataset in datasets:
        for job in reading.children("dataset_import_job", dataset.arn):
            if not settled(job):
                raise ResourceInUse(f"The import {job.arn} is in status {job.status}; wait until it has ended.")
    mode = request.get("trainingMode", FULL)
    recipe = recipes.by_arn(solution.body["recipeArn"])
    if recipe is None or mode not in recipe.training_modes:
        raise InvalidInput(f"The recipe {solution.body['recipeArn']} can't be trained in mode {mode}; use {FULL}.")
    number = arns.fresh_id()
    name = f"{solution.body['name']}/{number}"
    return Draft(
        arn=reading.arn("solution", name),
        body={
            **{member: solution.body.get(member) for member in REPEATED},
            "name": request.get("name", name),
            "solutionArn": solution.arn,
            "trainingMode": mode,
            "trainingType": MANUAL,
        },
        # What it trains on is settled now: a later attempt, or a longer wait, must not train on something else.
        state={
            "imports": {
                dataset.body["datasetType"]: [job.arn for job in current(dataset.arn, reading)] for dataset in datasets
            }
        },
        parents=(solution.arn, group_arn, *(dataset.arn for dataset in datasets)),
        claims=(f"solution-version:{solution.arn}:{request['name']}",) if "name" in request else (),
        guards=(solution, *datasets),
    )


def imports(version: Record, dataset_type: str) -> list[str]:
    """The ARNs of the import jobs that the version trains on, oldest first."""
    frozen = version.state["imports"]
    if isinstance(frozen, list):  # of a version that was made when training read the interactions alone
        frozen = {"INTERACTIONS": frozen}
    return list(reversed(frozen.get(dataset_type, [])))


def finished(record: Record, outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**record.body, "trainingHours": round(float(outcome["seconds"]) / 3600, 3)}
