"""The checks of CreateDataset and UpdateDataset beyond the service model: the type, and a schema that suits it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from shared.aws import arns
from shared.aws.errors import InvalidInput
from shared.data import schemas
from shared.resources.event_tracker.requests import build_tracking_claim
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record

TYPES = tuple(schemas.DATASET_TYPES.values())
DOMAIN_TYPES = ("INTERACTIONS", "ITEMS", "USERS")
UPDATABLE_TYPES = ("ITEMS", "USERS")

#: The member of a dataset's state with the columns that updates have added: name -> time in epoch seconds.
ADDED = "added"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    schema = reader.find_record(request["schemaArn"], "schema")
    domain = group.body.get("domain")
    dataset_type = request["datasetType"].upper()
    allowed = DOMAIN_TYPES if domain else TYPES
    if dataset_type not in allowed:
        raise InvalidInput(f"The dataset type {request['datasetType']} is none of {', '.join(allowed)}.")
    _parse_suited(schema, dataset_type, group)
    tracking_id = str(uuid.uuid4()) if dataset_type == "ACTION_INTERACTIONS" else None
    return Draft(
        arn=build_dataset_arn(group.arn, dataset_type, reader),
        body={
            "name": request["name"],
            "datasetGroupArn": group.arn,
            "datasetType": dataset_type,
            "schemaArn": schema.arn,
            "trackingId": tracking_id,
        },
        parents=(group.arn, schema.arn),
        claims=(build_tracking_claim(tracking_id),) if tracking_id else (),
        guards=(group, schema),
    )


def get_parents(_dataset: Record, body: Mapping[str, Any]) -> tuple[str, ...]:
    return (body["datasetGroupArn"], body["schemaArn"])


def _parse_suited(schema: Record, dataset_type: str, group: Record) -> schemas.DatasetSchema:
    """Parse the schema; a dataset of this type in this group must be able to have it. Raises InvalidInput."""
    domain = group.body.get("domain")
    if schema.body.get("domain") != domain:
        raise InvalidInput(
            f"The schema is of domain {schema.body.get('domain')}, the dataset group of domain {domain}: "
            "they must be the same. Create the schema with the group's domain."
        )
    try:
        return schemas.parse_schema(schema.body["schema"], dataset_type=dataset_type, domain=domain)
    except schemas.SchemaError as error:
        raise InvalidInput(str(error)) from error


def check_updatable(dataset: Record) -> None:
    if dataset.body["datasetType"] not in UPDATABLE_TYPES:
        raise InvalidInput(
            f"The schema of a dataset of type {dataset.body['datasetType']} can't be replaced, only that of "
            f"{' and '.join(UPDATABLE_TYPES)}."
        )


def find_added_columns(schema: Record, dataset: Record, reader: ResourceReader) -> frozenset[str]:
    """Return the columns that the schema adds to those of the dataset. Raises InvalidInput where it can't replace it.

    Every field keeps its type and attributes; new fields must be nullable, since existing rows lack them.
    """
    group = reader.find_record(dataset.body["datasetGroupArn"], "dataset_group")
    wanted = _parse_suited(schema, dataset.body["datasetType"], group).columns
    standing = _parse_suited(
        reader.find_record(dataset.body["schemaArn"], "schema"), dataset.body["datasetType"], group
    ).columns
    if missing := [name for name in standing if name not in wanted]:
        raise InvalidInput(f"The new schema must keep every field of the old one; it lacks {', '.join(missing)}.")
    if changed := [name for name, field in standing.items() if wanted[name] != field]:
        raise InvalidInput(
            f"The new schema changes the type or the attributes of {', '.join(changed)}. Keep them, and add a field "
            "of another name."
        )
    added = wanted.keys() - standing.keys()
    if full := [name for name in wanted if name in added and not wanted[name].nullable]:
        raise InvalidInput(
            f'The new fields {", ".join(full)} must support null: give them a union with "null" as type.'
        )
    return frozenset(added)


def find_columns_added_since(group_arn: str, at: float, reader: ResourceReader) -> dict[str, frozenset[str]]:
    """Return dataset type -> the columns that updates added after ``at`` (epoch seconds), for types with any.

    Existing solutions do not train on added columns: AWS excludes them.
    """
    added = {
        dataset.body["datasetType"]: frozenset(name for name, when in dataset.state.get(ADDED, {}).items() if when > at)
        for dataset in reader.iter_children("dataset", group_arn)
    }
    return {dataset_type: columns for dataset_type, columns in added.items() if columns}


def build_dataset_arn(group_arn: str, dataset_type: str, reader: ResourceReader) -> str:
    """Return the ARN of a group's dataset, which AWS builds from the dataset's type, not its name."""
    group = arns.parse_arn(group_arn)
    return reader.build_arn("dataset", f"{group.name if group else ''}/{dataset_type}")


def find_schema(group_arn: str, dataset_type: str, reader: ResourceReader) -> Mapping[str, Any] | None:
    """Return the schema of a group's dataset of that type, as sent to CreateSchema; None where the group has none."""
    dataset = reader.records.get(build_dataset_arn(group_arn, dataset_type, reader))
    return reader.find_record(dataset.body["schemaArn"], "schema").body if dataset else None


def find_columns(group_arn: str, dataset_type: str, reader: ResourceReader) -> Mapping[str, schemas.Field] | None:
    """Return the columns of a group's dataset of that type, by name; None where the group has none."""
    schema = find_schema(group_arn, dataset_type, reader)
    return schemas.parse_schema(schema["schema"], domain=schema.get("domain")).columns if schema else None
