"""What CreateDataset checks beyond the service model: the type, and that the schema is one of that type and domain."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from shared import arns
from shared.aws.errors import InvalidInput
from shared.data import schemas
from shared.resources.contract import Draft, Reading

TYPES = tuple(schemas.DATASET_TYPES.values())
DOMAIN_TYPES = ("INTERACTIONS", "ITEMS", "USERS")


def draft(request: Mapping[str, Any], reading: Reading) -> Draft:
    group = reading.active(request["datasetGroupArn"], "dataset_group")
    schema = reading.find(request["schemaArn"], "schema")
    domain = group.body.get("domain")
    dataset_type = request["datasetType"].upper()
    allowed = DOMAIN_TYPES if domain else TYPES
    if dataset_type not in allowed:
        raise InvalidInput(f"The dataset type {request['datasetType']} is none of {', '.join(allowed)}.")
    if schema.body.get("domain") != domain:
        raise InvalidInput(
            f"The schema is of domain {schema.body.get('domain')}, the dataset group of domain {domain}: "
            "they must be the same. Create the schema with the group's domain."
        )
    try:
        schemas.parse(schema.body["schema"], dataset_type=dataset_type, domain=domain)
    except schemas.SchemaError as error:
        raise InvalidInput(str(error)) from error
    return Draft(
        arn=arn_of(group.arn, dataset_type, reading),
        body={
            "name": request["name"],
            "datasetGroupArn": group.arn,
            "datasetType": dataset_type,
            "schemaArn": schema.arn,
            "trackingId": str(uuid.uuid4()) if dataset_type == "ACTION_INTERACTIONS" else None,
        },
        parents=(group.arn, schema.arn),
        guards=(group, schema),
    )


def arn_of(group_arn: str, dataset_type: str, reading: Reading) -> str:
    """A group's dataset is named by its type, not by its name."""
    group = arns.parse(group_arn)
    return reading.arn("dataset", f"{group.name if group else ''}/{dataset_type}")


def schema_of(group_arn: str, dataset_type: str, reading: Reading) -> Mapping[str, Any] | None:
    """The schema of a group's dataset of that type, as CreateSchema took it; None where the group has none."""
    dataset = reading.records.get(arn_of(group_arn, dataset_type, reading))
    return reading.find(dataset.body["schemaArn"], "schema").body if dataset else None


def columns_of(group_arn: str, dataset_type: str, reading: Reading) -> Mapping[str, schemas.Field] | None:
    """The columns of a group's dataset of that type, by name; None where the group has none."""
    schema = schema_of(group_arn, dataset_type, reading)
    return schemas.parse(schema["schema"], domain=schema.get("domain")).columns if schema else None
