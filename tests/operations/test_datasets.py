"""CreateDataset, DescribeDataset, ListDatasets, DeleteDataset."""

from __future__ import annotations

import json
from typing import Any

from tests.operations.conftest import INTERACTIONS, Maker, refused


def test_it_is_named_by_its_group_and_type(personalize: Any, make: Maker) -> None:
    group, schema, name = make.group(), make.schema(), make.name()
    arn = personalize.create_dataset(name=name, schemaArn=schema, datasetGroupArn=group, datasetType="iNTERactions")[
        "datasetArn"
    ]
    assert arn == f"{group.replace(':dataset-group/', ':dataset/')}/INTERACTIONS"
    dataset = make.settled("dataset", "dataset", arn)
    assert dataset["datasetType"] == "INTERACTIONS"
    assert (dataset["name"], dataset["schemaArn"], dataset["datasetGroupArn"]) == (name, schema, group)
    assert "trackingId" not in dataset
    [listed] = personalize.list_datasets(datasetGroupArn=group)["datasets"]
    assert (listed["datasetArn"], listed["datasetType"], listed["status"]) == (arn, "INTERACTIONS", "ACTIVE")


def test_a_second_of_its_type_is_refused(personalize: Any, make: Maker) -> None:
    group = make.group()
    arn = make.dataset(group)
    with refused("ResourceAlreadyExistsException", arn):
        personalize.create_dataset(
            name=make.name(), schemaArn=make.schema(), datasetGroupArn=group, datasetType="Interactions"
        )


def test_an_unknown_type_is_refused(personalize: Any, make: Maker) -> None:
    with refused("InvalidInputException", "none of INTERACTIONS, ITEMS"):
        personalize.create_dataset(
            name=make.name(), schemaArn=make.schema(), datasetGroupArn=make.group(), datasetType="Things"
        )


def test_a_schema_of_another_type_is_refused(personalize: Any, make: Maker) -> None:
    with refused("InvalidInputException", "Interactions"):
        personalize.create_dataset(
            name=make.name(), schemaArn=make.schema(), datasetGroupArn=make.group(), datasetType="Items"
        )


def test_a_schema_of_another_domain_is_refused(personalize: Any, make: Maker) -> None:
    schema = personalize.create_schema(name=make.name(), schema=json.dumps(INTERACTIONS), domain="ECOMMERCE")
    with refused("InvalidInputException", "domain"):
        personalize.create_dataset(
            name=make.name(), schemaArn=schema["schemaArn"], datasetGroupArn=make.group(), datasetType="Interactions"
        )


def test_missing_parents_are_named(personalize: Any, make: Maker) -> None:
    nothing = "arn:aws:personalize:us-east-1:000000000000:{}/none"
    with refused("ResourceNotFoundException", "The given dataset group does not exist"):
        personalize.create_dataset(
            name=make.name(),
            schemaArn=make.schema(),
            datasetGroupArn=nothing.format("dataset-group"),
            datasetType="Interactions",
        )
    with refused("ResourceNotFoundException", "The given schema does not exist"):
        personalize.create_dataset(
            name=make.name(),
            schemaArn=nothing.format("schema"),
            datasetGroupArn=make.group(),
            datasetType="Interactions",
        )


def test_it_is_deleted_with_its_import_jobs(personalize: Any, make: Maker) -> None:
    dataset = make.dataset()
    job = make.imported(dataset, make.csv())
    personalize.delete_dataset(datasetArn=dataset)
    make.gone("dataset", "dataset", dataset)
    with refused("ResourceNotFoundException"):
        personalize.describe_dataset_import_job(datasetImportJobArn=job["datasetImportJobArn"])


def test_one_that_is_being_imported_is_not_deleted(personalize: Any, make: Maker) -> None:
    dataset = make.dataset()
    job = make.started_import(dataset, make.csv(rows=20_000))
    with refused("ResourceInUseException", job):
        personalize.delete_dataset(datasetArn=dataset)
    make.settled("dataset_import_job", "datasetImportJob", job)
    personalize.delete_dataset(datasetArn=dataset)
