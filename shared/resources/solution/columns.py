"""The columns that a solution does not train on: solutionConfig.trainingDataConfig, checked and put in one form.

Excluded columns stay in the dataset, for filters and metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.data import schemas
from shared.resources.dataset.requests import TYPES, find_columns
from shared.resources.resource_type import ResourceReader
from shared.store import Record

EXCLUDED = "excludedDatasetColumns"
INCLUDED = "includedDatasetColumns"


def find_excluded_columns(
    config: Mapping[str, Any], group: Record, reader: ResourceReader
) -> dict[str, frozenset[str]]:
    """Return dataset type, as in an ARN -> columns that are not trained on. Raises InvalidInput.

    ``includedDatasetColumns`` excludes the other columns of the dataset types that it names. The required columns of a
    dataset, and EVENT_TYPE, are always trained on.
    """
    wanted = config.get("trainingDataConfig") or {}
    excluded, included = (_parse_columns(wanted.get(member) or {}, member) for member in (EXCLUDED, INCLUDED))
    if excluded and included:
        raise InvalidInput(f"trainingDataConfig has {EXCLUDED} and {INCLUDED}: give one of them.")
    result = {}
    for dataset_type, columns in (excluded or included).items():
        known = find_columns(group.arn, dataset_type, reader)
        if known is None:
            raise InvalidInput(f"trainingDataConfig names {dataset_type}: the dataset group has no such dataset.")
        if unknown := columns - known.keys():
            raise InvalidInput(
                f"trainingDataConfig names {_join_names(unknown)}, no column of the {dataset_type} dataset."
            )
        needed = schemas.get_required_columns(dataset_type, group.body.get("domain")) | {"EVENT_TYPE"}
        if excluded and (kept := columns & needed):
            raise InvalidInput(f"{_join_names(kept)} can't be excluded from training: every training needs it.")
        result[dataset_type] = columns if excluded else frozenset(known.keys() - columns - needed)
    return result


def _parse_columns(columns: Mapping[str, list[str]], member: str) -> dict[str, frozenset[str]]:
    """Return the columns by dataset type in capitals; clients may write it in any case."""
    result = {}
    for dataset_type, names in columns.items():
        if dataset_type.upper() not in TYPES:
            raise InvalidInput(f"{member} names the dataset type {dataset_type}; it must be one of {', '.join(TYPES)}.")
        if dataset_type.upper() in result:
            raise InvalidInput(f"{member} names the dataset type {dataset_type} twice.")
        result[dataset_type.upper()] = frozenset(names)
    return result


def _join_names(columns: frozenset[str]) -> str:
    return ", ".join(sorted(columns))
