"""The checks of CreateDatasetGroup beyond the service model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.resources.resource_type import Draft, ResourceReader


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    if ("roleArn" in request) != ("kmsKeyArn" in request):
        raise InvalidInput("roleArn and kmsKeyArn belong together: give both, or neither.")
    return Draft(
        arn=reader.build_arn("dataset-group", request["name"]),
        body={member: request.get(member) for member in ("name", "roleArn", "kmsKeyArn", "domain")},
    )
