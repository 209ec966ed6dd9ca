"""The checks of CreateSchema beyond the service model: the Avro text itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.data import schemas
from shared.resources.resource_type import Draft, ResourceReader


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    try:
        schemas.parse_schema(request["schema"], domain=request.get("domain"))
    except schemas.SchemaError as error:
        raise InvalidInput(str(error)) from error
    return Draft(
        arn=reader.build_arn("schema", request["name"]),
        body={member: request.get(member) for member in ("name", "schema", "domain")},
    )
