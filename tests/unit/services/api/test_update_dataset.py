"""UpdateDataset: what may follow what, how its status runs, and who still trains on the old columns."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.status import transitions
from shared.aws.errors import InvalidInput, ResourceInUse, ResourceNotFound
from shared.resources.dataset.requests import find_columns_added_since
from shared.state.lifecycle import ACTIVE, UPDATE_IN_PROGRESS, UPDATE_PENDING
from shared.state.messages import Provision, Started
from tests.unit.services.groups import FIELDS, Group

ITEMS = FIELDS["Items"]
COLOUR = {"name": "COLOUR", "type": ["null", "string"], "categorical": True}


@pytest.fixture
def group() -> Group:
    return Group()


def replaced(fields: list[dict[str, Any]], name: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**field, **changes} if field["name"] == name else field for field in fields]


def test_the_datasets_own_status_moves_and_its_schema_follows(group: Group) -> None:
    items = group.dataset("Items")
    old = group.described(items)["schemaArn"]
    assert "latestDatasetUpdate" not in group.described(items)
    new = group.schema("Items", [*ITEMS, COLOUR])
    assert group.call("UpdateDataset", datasetArn=items, schemaArn=new) == {"datasetArn": items}
    pending = group.described(items)
    assert (pending["status"], pending["schemaArn"]) == (UPDATE_PENDING, old)
    assert (pending["latestDatasetUpdate"]["status"], pending["latestDatasetUpdate"]["schemaArn"]) == (
        UPDATE_PENDING,
        new,
    )
    transitions.write_transition(group.store, Started(arn=items, attempt=group.record(items).attempt))
    assert group.described(items)["status"] == UPDATE_IN_PROGRESS
    assert group.queue.messages == [Provision(arn=items)]
    group.settle()
    done = group.described(items)
    assert (done["status"], done["schemaArn"], done["latestDatasetUpdate"]["status"]) == (ACTIVE, new, ACTIVE)


def test_its_time_moves_with_each_of_these_statuses(group: Group) -> None:
    items, new = group.dataset("Items"), group.schema("Items", [*ITEMS, COLOUR])
    times = [group.described(items)["lastUpdatedDateTime"]]
    group.call("UpdateDataset", datasetArn=items, schemaArn=new)
    times.append(group.described(items)["lastUpdatedDateTime"])
    transitions.write_transition(group.store, Started(arn=items, attempt=group.record(items).attempt))
    times.append(group.described(items)["lastUpdatedDateTime"])
    group.settle()
    times.append(group.described(items)["lastUpdatedDateTime"])
    assert sorted(set(times)) == times


def test_the_old_schema_may_go_and_the_new_one_may_not_not_even_meanwhile(group: Group) -> None:
    items = group.dataset("Items")
    old, new = group.described(items)["schemaArn"], group.schema("Items", [*ITEMS, COLOUR])
    group.call("UpdateDataset", datasetArn=items, schemaArn=new)
    for schema in (old, new):
        with pytest.raises(ResourceInUse, match=f"still used by {items}"):
            group.call("DeleteSchema", schemaArn=schema)
    group.settle()
    group.call("DeleteSchema", schemaArn=old)
    with pytest.raises(ResourceInUse, match=f"still used by {items}"):
        group.call("DeleteSchema", schemaArn=new)


def test_asking_again_changes_nothing(group: Group) -> None:
    items, new = group.dataset("Items"), group.schema("Items", [*ITEMS, COLOUR])
    for settle in (lambda: None, group.settle):
        group.call("UpdateDataset", datasetArn=items, schemaArn=new)
        assert group.queue.messages == [Provision(arn=items)]
        settle()
    before = group.record(items)
    group.call("UpdateDataset", datasetArn=items, schemaArn=new)
    assert group.record(items) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (ITEMS[:2], "must keep every field of the old one; it lacks PRICE"),
        (replaced(ITEMS, "PRICE", type=["null", "double"]), "changes the type or the attributes of PRICE"),
        (replaced(ITEMS, "PRICE", type="float"), "changes the type or the attributes of PRICE"),
        (replaced(ITEMS, "GENRES", categorical=False), "changes the type or the attributes of GENRES"),
        ([*ITEMS, {"name": "SIZE", "type": "int"}], "new fields SIZE must support null"),
    ],
)
def test_old_fields_stay_as_they_are_and_new_ones_may_be_null(
    group: Group, fields: list[dict[str, Any]], message: str
) -> None:
    items = group.dataset("Items")
    with pytest.raises(InvalidInput, match=message):
        group.call("UpdateDataset", datasetArn=items, schemaArn=group.schema("Items", fields))


def test_order_does_not_matter_and_another_spelling_of_the_same_type_neither(group: Group) -> None:
    items = group.dataset("Items")
    fields = [COLOUR, *reversed(replaced(ITEMS, "PRICE", type=["float", "null"]))]
    group.call("UpdateDataset", datasetArn=items, schemaArn=group.schema("Items", fields))
    assert group.described(items)["status"] == UPDATE_PENDING


def test_a_schema_of_another_type_or_domain_is_refused(group: Group) -> None:
    items = group.dataset("Items")
    with pytest.raises(InvalidInput, match="cannot be used for a dataset of type ITEMS"):
        group.call("UpdateDataset", datasetArn=items, schemaArn=group.schema("Users"))
    with pytest.raises(ResourceNotFound, match="The given schema does not exist"):
        group.call("UpdateDataset", datasetArn=items, schemaArn=f"{group.arn}x")
    with pytest.raises(ResourceNotFound, match="The given dataset does not exist"):
        group.call("UpdateDataset", datasetArn=group.arn, schemaArn=group.schema("Items"))


@pytest.mark.parametrize("name", ["Interactions", "Actions", "ActionInteractions"])
def test_only_items_and_users_can_have_another_schema(group: Group, name: str) -> None:
    dataset = group.dataset(name)
    with pytest.raises(InvalidInput, match="can't be replaced, only that of ITEMS and USERS"):
        group.call("UpdateDataset", datasetArn=dataset, schemaArn=group.described(dataset)["schemaArn"])


def test_it_must_be_active_and_no_import_may_be_under_way(group: Group) -> None:
    items, new = group.dataset("Items"), group.schema("Items", [*ITEMS, COLOUR])
    newer = group.schema("Items", [*ITEMS, COLOUR, {"name": "SIZE", "type": ["null", "int"]}])
    group.call("UpdateDataset", datasetArn=items, schemaArn=new)
    with pytest.raises(ResourceInUse, match="in status UPDATE PENDING"):
        group.call("UpdateDataset", datasetArn=items, schemaArn=newer)
    source = {"dataLocation": "s3://b/k"}
    with pytest.raises(ResourceInUse, match="in status UPDATE PENDING"):
        group.call("CreateDatasetImportJob", jobName="j", datasetArn=items, dataSource=source)
    with pytest.raises(ResourceInUse, match="in status UPDATE PENDING"):
        group.call("DeleteDataset", datasetArn=items)
    group.settle()
    job = group.call("CreateDatasetImportJob", jobName="j", datasetArn=items, dataSource=source)["datasetImportJobArn"]
    with pytest.raises(ResourceInUse, match=f"The import {job} is in status CREATE PENDING"):
        group.call("UpdateDataset", datasetArn=items, schemaArn=newer)


def test_one_that_is_being_deleted_is_refused_even_what_it_has(group: Group) -> None:
    items = group.dataset("Items")
    group.call("DeleteDataset", datasetArn=items)
    with pytest.raises(ResourceInUse, match="in status DELETE PENDING"):
        group.call("UpdateDataset", datasetArn=items, schemaArn=group.described(items)["schemaArn"])


def test_columns_are_new_to_whom_they_came_later(group: Group) -> None:
    items, users = group.dataset("Items"), group.dataset("Users")
    begin = time.time()
    group.call("UpdateDataset", datasetArn=items, schemaArn=group.schema("Items", [*ITEMS, COLOUR]))
    group.settle()
    between = time.time()
    size = {"name": "SIZE", "type": ["null", "int"]}
    group.call("UpdateDataset", datasetArn=items, schemaArn=group.schema("Items", [*ITEMS, COLOUR, size]))
    fields = [*FIELDS["Users"], size]
    group.call("UpdateDataset", datasetArn=users, schemaArn=group.schema("Users", fields))
    group.settle()
    reading = group.context.reading
    assert find_columns_added_since(group.arn, begin, reading) == {"ITEMS": {"COLOUR", "SIZE"}, "USERS": {"SIZE"}}
    assert find_columns_added_since(group.arn, between, reading) == {"ITEMS": {"SIZE"}, "USERS": {"SIZE"}}
    assert find_columns_added_since(group.arn, time.time(), reading) == {}
