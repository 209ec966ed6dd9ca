"""The checks of CreateDatasetExportJob beyond the service model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.resources.locations import INVALID_OUTPUT, check_location
from shared.resources.resource_type import Draft, ResourceReader

BULK = "BULK"
PUT = "PUT"
ALL = "ALL"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    dataset = reader.find_active(request["datasetArn"], "dataset")
    check_location(request["jobOutput"]["s3DataDestination"]["path"], INVALID_OUTPUT)
    return Draft(
        arn=reader.build_arn("dataset-export-job", request["jobName"]),
        body={
            **{member: request.get(member) for member in ("jobName", "roleArn", "jobOutput")},
            "datasetArn": dataset.arn,
            "ingestionMode": request.get("ingestionMode", PUT),
        },
        parents=(dataset.arn,),
        guards=(dataset,),
    )
