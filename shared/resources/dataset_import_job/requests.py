"""The checks of CreateDatasetImportJob beyond the service model. The job itself checks the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.resources.locations import INVALID_DATA, check_location
from shared.resources.resource_type import Draft, ResourceReader
from shared.state.lifecycle import ACTIVE

FULL = "FULL"
INCREMENTAL = "INCREMENTAL"
ECHOED = ("jobName", "datasetArn", "dataSource", "roleArn", "publishAttributionMetricsToS3")


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    dataset = reader.find_active(request["datasetArn"], "dataset")
    check_location(request["dataSource"].get("dataLocation"), INVALID_DATA)
    mode = request.get("importMode", FULL)
    if mode == INCREMENTAL and not _has_full(dataset.arn, reader):
        raise InvalidInput("The dataset has no bulk data yet: you can only specify FULL for its first import.")
    return Draft(
        arn=reader.build_arn("dataset-import-job", request["jobName"]),
        body={**{member: request.get(member) for member in ECHOED}, "importMode": mode},
        parents=(dataset.arn,),
        guards=(dataset,),
    )


def _has_full(dataset_arn: str, reader: ResourceReader) -> bool:
    return any(
        job.status == ACTIVE and job.body["importMode"] == FULL
        for job in reader.iter_children("dataset_import_job", dataset_arn)
    )
