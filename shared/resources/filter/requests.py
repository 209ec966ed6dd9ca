"""The checks of CreateFilter beyond the service model: the expression, against the schemas of the dataset group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput, LimitExceeded, ResourceInUse
from shared.filters import Filter, FilterError, TooManyFields, check_filter, parse_filter
from shared.filters.checking import Schemas
from shared.resources.dataset.requests import TYPES, find_columns
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record

MOST_FIELDS_OF_A_GROUP = 20  # distinct ones, of all filters of a dataset group


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = _find_group(request["datasetGroupArn"], reader)
    checked = _parse_expression(request["filterExpression"], find_schemas(group.arn, reader))
    _check_fields_of_the_group(checked, group, reader)
    return Draft(
        arn=reader.build_arn("filter", request["name"]),
        body={member: request[member] for member in ("name", "datasetGroupArn", "filterExpression")},
        state={"fields": sorted(checked.columns)},
        parents=(group.arn,),
        guards=(group,),
    )


def find_schemas(group_arn: str, reader: ResourceReader) -> Schemas:
    """Return the columns by dataset type, against which the group's filters are checked."""
    found = {dataset_type: find_columns(group_arn, dataset_type, reader) for dataset_type in TYPES}
    return {dataset_type: columns for dataset_type, columns in found.items() if columns is not None}


def _find_group(arn: str, reader: ResourceReader) -> Record:
    try:
        return reader.find_active(arn, "dataset_group")
    except ResourceInUse as error:  # CreateFilter has no such error
        raise InvalidInput(error.message) from error


def _parse_expression(expression: str, schemas: Schemas) -> Filter:
    """Parse and check an expression. Raises InvalidInput and LimitExceeded."""
    try:
        return check_filter(parse_filter(expression), schemas)
    except TooManyFields as error:
        raise LimitExceeded(f"Could not create filter. {error}") from error
    except FilterError as error:
        raise InvalidInput(f"Could not create filter. {error}") from error


def _check_fields_of_the_group(checked: Filter, group: Record, reader: ResourceReader) -> None:
    """Raise LimitExceeded for too many fields. The group is guarded: two filters can't be created at once."""
    fields = set(checked.columns)
    for standing in reader.iter_children("filter", group.arn):
        fields.update(standing.state["fields"])
    if len(fields) > MOST_FIELDS_OF_A_GROUP:
        raise LimitExceeded(
            f"Could not create filter. The filters of the dataset group would have {len(fields)} distinct fields; at "
            f"most {MOST_FIELDS_OF_A_GROUP} are allowed. Delete a filter that is not used any more."
        )
