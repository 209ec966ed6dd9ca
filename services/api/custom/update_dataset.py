"""UpdateDataset: give Items or Users another schema, which has all columns of the old one and may add some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import request_update
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.dataset.requests import ADDED, check_updatable, find_added_columns
from shared.resources.dataset_import_job import refuse_while_importing
from shared.resources.resource_type import is_terminal
from shared.state.lifecycle import ACTIVE
from shared.store import Record

DATASET = RESOURCES["dataset"]


def update_dataset(context: ApiContext, call: Call) -> Mapping[str, Any]:
    run_once(context, call, lambda bound: _request_update(bound, call.request))
    return {"datasetArn": call.request["datasetArn"]}


def _request_update(context: ApiContext, request: Mapping[str, Any]) -> None:
    dataset = context.reading.find_record(request["datasetArn"], "dataset")
    check_updatable(dataset)
    schema = context.reading.find_record(request["schemaArn"], "schema")
    if dataset.status == ACTIVE and schema.arn == _get_wanted_schema(dataset):
        return  # the dataset has that schema, or is being moved to it
    context.reading.find_active(dataset.arn, "dataset")
    refuse_while_importing(dataset.arn, context.reading)
    added = dict.fromkeys(find_added_columns(schema, dataset, context.reading), context.store.now())
    begun = replace(
        dataset,
        # A child of the new schema from now on, so that the schema can't be deleted during the update.
        parents=(*dataset.parents, schema.arn),
        state={**dataset.state, ADDED: {**dataset.state.get(ADDED, {}), **added}},
    )
    request_update(context, DATASET, begun, {"schemaArn": schema.arn}, guards=[schema])


def _get_wanted_schema(dataset: Record) -> str:
    """Return the ARN of the schema that the dataset has, or is being moved to."""
    moving = dataset.update is not None and not is_terminal(dataset)
    return str(dataset.update.body["schemaArn"] if dataset.update and moving else dataset.body["schemaArn"])
