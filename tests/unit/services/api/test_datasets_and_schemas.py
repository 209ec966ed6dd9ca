"""Datasets, schemas and imports of every type and domain: what goes together, and what can't go yet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.aws.errors import InvalidInput, ResourceAlreadyExists, ResourceInUse, ResourceNotFound
from shared.resources.event_tracker import build_tracking_claim
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.store import Record
from tests.unit.services.groups import FIELDS, Group

ITEMS_OF = {
    "VIDEO_ON_DEMAND": [
        {"name": "ITEM_ID", "type": "string"},
        {"name": "GENRES", "type": "string", "categorical": True},
        {"name": "CREATION_TIMESTAMP", "type": "long"},
    ],
    "ECOMMERCE": [
        {"name": "ITEM_ID", "type": "string"},
        {"name": "PRICE", "type": "float"},
        {"name": "CATEGORY_L1", "type": "string", "categorical": True},
    ],
}
DOMAINS = list(ITEMS_OF)


@pytest.mark.parametrize("name", FIELDS)
def test_a_group_has_one_dataset_of_each_type(name: str) -> None:
    group = Group()
    dataset = group.dataset(name)
    assert group.described(dataset)["status"] == ACTIVE
    with pytest.raises(ResourceAlreadyExists, match=dataset):
        group.dataset(name)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_group_of_a_domain_has_interactions_items_and_users(domain: str) -> None:
    group = Group(domain)
    for name, fields in (("Interactions", None), ("Items", ITEMS_OF[domain]), ("Users", None)):
        assert group.described(group.dataset(name, fields))["status"] == ACTIVE


@pytest.mark.parametrize("name", ["Actions", "ActionInteractions"])
def test_a_group_of_a_domain_has_no_actions(name: str) -> None:
    custom, domain = Group(), Group("ECOMMERCE")
    with pytest.raises(InvalidInput, match="Create it without a domain"):
        domain.schema(name)
    schema = custom.schema(name)
    domain.store.create(custom.record(schema), invocation="a schema without a domain")
    dataset_type = name.replace("nI", "n_I")
    with pytest.raises(InvalidInput, match="is none of INTERACTIONS, ITEMS, USERS"):
        domain.call("CreateDataset", name="d", schemaArn=schema, datasetGroupArn=domain.arn, datasetType=dataset_type)


@pytest.mark.parametrize(("of_schema", "of_group"), [(None, "ECOMMERCE"), ("ECOMMERCE", None), DOMAINS])
def test_a_schema_and_its_group_are_of_one_domain(of_schema: str | None, of_group: str | None) -> None:
    group, other = Group(of_group), Group(of_schema)
    schema = other.schema("Users")
    group.store.create(other.record(schema), invocation="a schema of another domain")
    with pytest.raises(InvalidInput, match=f"is of domain {of_schema}, the dataset group of domain {of_group}"):
        group.call("CreateDataset", name="d", schemaArn=schema, datasetGroupArn=group.arn, datasetType="Users")


def test_only_action_interactions_have_a_tracking_id_and_are_found_by_it() -> None:
    group = Group()
    for name in FIELDS:
        dataset = group.dataset(name)
        tracking_id = group.described(dataset).get("trackingId")
        assert (tracking_id is not None) == (name == "ActionInteractions")
        if tracking_id is not None:
            assert group.store.find_claim_holder(build_tracking_claim(tracking_id)) == dataset


def test_a_group_that_is_not_active_has_no_datasets_yet() -> None:
    group = Group()
    schema = group.schema("Users")
    group.store.replace(replace(group.record(group.arn), status=CREATE_PENDING))
    with pytest.raises(ResourceInUse, match="in status CREATE PENDING"):
        group.call("CreateDataset", name="d", schemaArn=schema, datasetGroupArn=group.arn, datasetType="Users")


def test_a_schema_is_immutable_and_goes_when_no_dataset_has_it() -> None:
    group = Group()
    dataset = group.dataset("Users")
    schema = str(group.described(dataset)["schemaArn"])
    with pytest.raises(ResourceInUse, match=f"{schema} is still used by {dataset}; delete that first"):
        group.call("DeleteSchema", schemaArn=schema)
    group.store.remove(group.record(dataset))
    group.call("DeleteSchema", schemaArn=schema)
    with pytest.raises(ResourceNotFound, match="The given schema does not exist"):
        group.call("DescribeSchema", schemaArn=schema)


@pytest.mark.parametrize("kind", ["dataset_import_job", "solution_version", "recommender_version"])
@pytest.mark.parametrize("status", [CREATE_PENDING, CREATE_IN_PROGRESS])
def test_a_dataset_stays_while_an_import_or_a_training_uses_it(kind: str, status: str) -> None:
    group = Group()
    dataset = group.dataset("Users")
    user = Record(arn="x", kind=kind, created=1.0, updated=1.0, status=status, parents=(dataset,))
    group.store.create(user, invocation="x")
    with pytest.raises(ResourceInUse, match=f"used by x, which is in status {status}"):
        group.call("DeleteDataset", datasetArn=dataset)
    group.store.replace(replace(group.record("x"), status=CREATE_FAILED))
    group.call("DeleteDataset", datasetArn=dataset)
    assert group.described(dataset)["status"] == "DELETE PENDING"


def started(group: Group, dataset: str, **more: object) -> Record:
    source = {"dataLocation": "s3://bucket/folder/"}
    job = group.call("CreateDatasetImportJob", jobName=f"j{len(group.queue.messages)}", datasetArn=dataset,
                     dataSource=source, **more)  # fmt: skip
    return group.record(str(job["datasetImportJobArn"]))


def test_an_import_needs_no_role_and_is_full_unless_it_says_otherwise() -> None:
    group = Group()
    job = started(group, group.dataset("Items"))
    assert (job.body["importMode"], "roleArn" in job.body) == ("FULL", False)


@pytest.mark.parametrize("name", FIELDS)
def test_the_first_import_of_every_type_is_full(name: str) -> None:
    group = Group()
    dataset = group.dataset(name)
    with pytest.raises(InvalidInput, match="you can only specify FULL"):
        started(group, dataset, importMode="INCREMENTAL")
    full = started(group, dataset)
    with pytest.raises(InvalidInput, match="you can only specify FULL"):
        started(group, dataset, importMode="INCREMENTAL")
    group.store.replace(replace(full, status=ACTIVE))
    assert started(group, dataset, importMode="INCREMENTAL").body["importMode"] == "INCREMENTAL"
