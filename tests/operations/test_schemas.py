"""CreateSchema, DescribeSchema, ListSchemas, DeleteSchema."""

from __future__ import annotations

import json
from typing import Any

from tests.operations.conftest import INTERACTIONS, Maker, refused


def test_it_is_described_as_it_was_sent(personalize: Any, make: Maker) -> None:
    text = json.dumps(INTERACTIONS, indent=3)
    name = make.name()
    arn = personalize.create_schema(name=name, schema=text)["schemaArn"]
    schema = personalize.describe_schema(schemaArn=arn)["schema"]
    assert (schema["name"], schema["schema"]) == (name, text)
    assert "status" not in schema
    assert arn in [one["schemaArn"] for one in personalize.list_schemas()["schemas"]]


def test_a_byte_order_mark_is_no_fault_of_a_schema(personalize: Any, make: Maker) -> None:
    text = "\ufeff" + json.dumps(INTERACTIONS)
    arn = personalize.create_schema(name=make.name(), schema=text)["schemaArn"]
    assert personalize.describe_schema(schemaArn=arn)["schema"]["schema"] == text
    assert make.imported(make.dataset(schema=arn), make.csv())["status"] == "ACTIVE"


def test_a_schema_that_is_no_json_is_refused(personalize: Any, make: Maker) -> None:
    with refused("InvalidInputException", "not valid JSON"):
        personalize.create_schema(name=make.name(), schema="{")


def test_a_schema_without_a_required_column_is_refused(personalize: Any, make: Maker) -> None:
    document = {**INTERACTIONS, "fields": INTERACTIONS["fields"][1:]}
    with refused("InvalidInputException", "USER_ID"):
        personalize.create_schema(name=make.name(), schema=json.dumps(document))


def test_a_used_name_is_refused(personalize: Any, make: Maker) -> None:
    arn = make.schema()
    with refused("ResourceAlreadyExistsException", arn):
        personalize.create_schema(name=arn.rpartition("/")[2], schema=json.dumps(INTERACTIONS))


def test_it_is_deleted_at_once_when_no_dataset_uses_it(personalize: Any, make: Maker) -> None:
    arn = make.schema()
    personalize.delete_schema(schemaArn=arn)
    with refused("ResourceNotFoundException", "The given schema does not exist"):
        personalize.describe_schema(schemaArn=arn)


def test_one_that_a_dataset_uses_is_not_deleted(personalize: Any, make: Maker) -> None:
    schema = make.schema()
    dataset = make.dataset(schema=schema)
    with refused("ResourceInUseException", dataset):
        personalize.delete_schema(schemaArn=schema)
