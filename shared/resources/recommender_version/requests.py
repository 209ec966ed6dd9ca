"""The draft of a recommender's model: it trains on the datasets as they are now, with the recommender's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.resources.dataset_import_job import list_current_jobs
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution_version.requests import FULL


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    """``request`` has recommenderArn alone. Raises ResourceNotFound, and ResourceInUse for a dataset in deletion."""
    recommender = reader.find_record(request["recommenderArn"], "recommender")
    wanted = {**recommender.body, **(recommender.update.body if recommender.update else {})}
    group_arn = wanted["datasetGroupArn"]
    datasets = tuple(reader.find_active(d.arn, "dataset") for d in reader.iter_children("dataset", group_arn))
    columns = wanted["recommenderConfig"].get("trainingDataConfig")
    return Draft(
        arn=wanted["solutionVersionArn"],
        body={
            "recipeArn": wanted["recipeArn"],
            "datasetGroupArn": group_arn,
            "solutionConfig": {"trainingDataConfig": columns} if columns else {},
            "trainingMode": FULL,
        },
        state={"imports": list_current_jobs(datasets, reader)},
        parents=(recommender.arn, group_arn, *(dataset.arn for dataset in datasets)),
        guards=(recommender, *datasets),
    )
