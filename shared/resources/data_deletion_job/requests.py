"""The checks of CreateDataDeletionJob beyond the service model. The job itself checks the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.resources.locations import INVALID_DATA, check_location
from shared.resources.resource_type import Draft, ResourceReader


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    check_location(request["dataSource"].get("dataLocation"), INVALID_DATA)
    return Draft(
        arn=reader.build_arn("data-deletion-job", request["jobName"]),
        body={
            **{member: request.get(member) for member in ("jobName", "dataSource", "roleArn")},
            "datasetGroupArn": group.arn,
        },
        parents=(group.arn,),
        guards=(group,),
    )
