"""Find the dataset that a call writes to, by tracking id or ARN, with its schema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeGuard

from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.data import schemas
from shared.data.schemas import DatasetSchema
from shared.resources import ResourceReader
from shared.resources.dataset.requests import build_dataset_arn
from shared.resources.event_tracker import build_tracking_claim
from shared.state.lifecycle import ACTIVE
from shared.store import Record, Store


@dataclass(frozen=True)
class DatasetTarget:
    """A dataset to write to. ``tracker`` is the ARN of the event tracker; empty if the call did not name one."""

    arn: str
    group: str
    schema: DatasetSchema
    tracker: str = ""


def find_interactions_target(store: Store, reading: ResourceReader, tracking_id: str) -> DatasetTarget:
    """Find the Interactions dataset of an event tracker's group. Raises ResourceNotFound, InvalidInput."""
    tracker = _find_tracked(store, tracking_id, "event_tracker")
    if not _is_usable(tracker):
        raise ResourceNotFound(f"No usable event tracker has the tracking id {tracking_id}.")
    group = tracker.body["datasetGroupArn"]
    dataset = store.get(build_dataset_arn(group, "INTERACTIONS", reading))
    if not _is_usable(dataset):
        raise InvalidInput(f"The dataset group {group} has no usable Interactions dataset: create one first.")
    return replace(_build_target(dataset, reading), tracker=tracker.arn)


def _is_usable(record: Record | None) -> TypeGuard[Record]:
    return record is not None and record.status == ACTIVE


def find_action_interactions_target(store: Store, reading: ResourceReader, tracking_id: str) -> DatasetTarget:
    """Find the Action_Interactions dataset with this tracking id. Raises ResourceNotFound, ResourceInUse."""
    dataset = _find_tracked(store, tracking_id, "dataset")
    if dataset is None:
        raise ResourceNotFound(
            f"No Action_Interactions dataset has the tracking id {tracking_id}; DescribeDataset shows it."
        )
    return _build_target(reading.find_active(dataset.arn, "dataset"), reading)


def find_dataset_target(dataset_type: str, arn: str, reading: ResourceReader) -> DatasetTarget:
    """Find a dataset, which must be of this type. Raises ResourceNotFound, ResourceInUse, InvalidInput."""
    dataset = reading.find_active(arn, "dataset")
    if dataset.body["datasetType"] != dataset_type:
        raise InvalidInput(f"{arn} is a dataset of type {dataset.body['datasetType']}; it must be {dataset_type}.")
    return _build_target(dataset, reading)


def _find_tracked(store: Store, tracking_id: str, noun: str) -> Record | None:
    arn = store.find_claim_holder(build_tracking_claim(tracking_id))
    record = store.get(arn) if arn else None
    return record if record is not None and record.kind == noun else None


def _build_target(dataset: Record, reading: ResourceReader) -> DatasetTarget:
    schema = reading.find_record(dataset.body["schemaArn"], "schema")
    return DatasetTarget(
        dataset.arn, dataset.body["datasetGroupArn"], _parse_schema(schema.body["schema"], schema.body.get("domain"))
    )


@lru_cache(maxsize=64)
def _parse_schema(text: str, domain: str | None) -> DatasetSchema:
    return schemas.parse_schema(text, domain=domain)
