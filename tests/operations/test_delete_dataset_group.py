from __future__ import annotations

from typing import Any

from tests.operations.conftest import Maker, refused


def test_it_works(personalize: Any, make: Maker) -> None:
    arn = make.group()
    answer = personalize.delete_dataset_group(datasetGroupArn=arn)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    make.gone("dataset_group", "datasetGroup", arn)
    listed = personalize.get_paginator("list_dataset_groups").paginate().build_full_result()["datasetGroups"]
    assert arn not in [group["datasetGroupArn"] for group in listed]


def test_its_name_can_be_used_again(personalize: Any, make: Maker) -> None:
    arn = make.group()
    personalize.delete_dataset_group(datasetGroupArn=arn)
    make.gone("dataset_group", "datasetGroup", arn)
    assert personalize.create_dataset_group(name=arn.rpartition("/")[2])["datasetGroupArn"] == arn


def test_one_with_a_dataset_is_refused(personalize: Any, make: Maker) -> None:
    group = make.group()
    dataset = make.dataset(group)
    with refused("ResourceInUseException", dataset):
        personalize.delete_dataset_group(datasetGroupArn=group)


def test_an_unknown_one_is_not_found(personalize: Any) -> None:
    arn = "arn:aws:personalize:us-east-1:000000000000:dataset-group/none"
    with refused("ResourceNotFoundException", f"The given dataset group does not exist: {arn}"):
        personalize.delete_dataset_group(datasetGroupArn=arn)
