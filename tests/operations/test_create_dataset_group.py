from __future__ import annotations

from typing import Any

from tests.operations.conftest import ROLE, Maker, refused


def test_it_works(personalize: Any, make: Maker) -> None:
    name = make.name()
    arn = personalize.create_dataset_group(name=name)["datasetGroupArn"]
    assert arn == f"arn:aws:personalize:us-east-1:000000000000:dataset-group/{name}"
    group = make.settled("dataset_group", "datasetGroup", arn)
    assert group["name"] == name
    assert group["status"] == "ACTIVE"
    assert group["lastUpdatedDateTime"] >= group["creationDateTime"]
    assert "failureReason" not in group
    assert "domain" not in group


def test_describe_right_after_create_sees_it(personalize: Any, make: Maker) -> None:
    arn = personalize.create_dataset_group(name=make.name())["datasetGroupArn"]
    status = personalize.describe_dataset_group(datasetGroupArn=arn)["datasetGroup"]["status"]
    assert status in ("CREATE PENDING", "CREATE IN_PROGRESS", "ACTIVE")


def test_a_domain_is_answered(personalize: Any, make: Maker) -> None:
    created = personalize.create_dataset_group(name=make.name(), domain="ECOMMERCE")
    assert created["domain"] == "ECOMMERCE"


def test_a_used_name_is_refused(personalize: Any, make: Maker) -> None:
    name = make.name()
    arn = personalize.create_dataset_group(name=name)["datasetGroupArn"]
    with refused("ResourceAlreadyExistsException", f"Another resource with Arn {arn} already exists"):
        personalize.create_dataset_group(name=name)


def test_a_role_without_a_key_is_refused(personalize: Any, make: Maker) -> None:
    with refused("InvalidInputException", "roleArn and kmsKeyArn"):
        personalize.create_dataset_group(name=make.name(), roleArn=ROLE)


def test_a_bad_name_is_refused_in_aws_words(personalize: Any) -> None:
    with refused("ValidationException", "Value 'a b' at 'name' failed to satisfy constraint: Member must satisfy"):
        personalize.create_dataset_group(name="a b")


def test_an_over_long_name_is_refused(personalize: Any) -> None:
    with refused("ValidationException", "length less than or equal to 63"):
        personalize.create_dataset_group(name="a" * 64)
