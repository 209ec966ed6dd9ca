"""PutItems, PutUsers, PutActions, PutActionInteractions, and UpdateDataset before them, over the wire."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.conftest import System, until
from tests.operations.conftest import INTERACTIONS, Maker, column, refused

FIELDS = {
    "Items": [column("ITEM_ID"), column("GENRES", categorical=True)],
    "Users": [column("USER_ID"), column("AGE", ["null", "int"])],
    "Actions": [column("ACTION_ID"), column("LEVEL", ["null", "string"])],
    "ActionInteractions": [
        column("USER_ID"), column("ACTION_ID"), column("EVENT_TYPE"), column("TIMESTAMP", "long")
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    return make.group()


@pytest.fixture(scope="module")
def datasets(make: Maker, group: str) -> dict[str, str]:
    return {name: make.dataset(group, schema(make, name), name.replace("nI", "n_I")) for name in FIELDS}


def schema(make: Maker, name: str, *more: dict[str, Any]) -> str:
    return make.schema({**INTERACTIONS, "name": name, "fields": [*FIELDS[name], *more]})


def test_each_is_acknowledged_without_a_body(system: System, datasets: dict[str, str]) -> None:
    described = system.personalize.describe_dataset(datasetArn=datasets["ActionInteractions"])["dataset"]
    item = {"itemId": "i", "properties": json.dumps({"genres": "War|Drama"})}
    taken = {"actionId": "a", "userId": "u", "sessionId": "s", "timestamp": time.time(), "eventType": "Not Taken"}
    for answer in (
        system.events.put_items(datasetArn=datasets["Items"], items=[item] * 10),
        system.events.put_users(datasetArn=datasets["Users"], users=[{"userId": "u"}]),
        system.events.put_actions(datasetArn=datasets["Actions"], actions=[{"actionId": "a"}]),
        system.events.put_action_interactions(trackingId=described["trackingId"], actionInteractions=[taken]),
    ):
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        assert answer["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"


def test_what_is_refused_has_aws_code_and_status(system: System, datasets: dict[str, str]) -> None:
    item = {"itemId": "i", "properties": json.dumps({"genres": "War"})}
    with refused("ValidationException", "length less than or equal to 10"):
        system.events.put_items(datasetArn=datasets["Items"], items=[item] * 11)
    with refused("ValidationException", "32000"):
        properties = json.dumps({"genres": "x" * 32_000})
        system.events.put_items(datasetArn=datasets["Items"], items=[{"itemId": "i", "properties": properties}])
    with refused("ValidationException", "24000"):
        properties = json.dumps({"name": "x" * 24_000})
        system.events.put_users(datasetArn=datasets["Users"], users=[{"userId": "u", "properties": properties}])
    with refused("InvalidInputException", "lacks GENRES"):
        system.events.put_items(datasetArn=datasets["Items"], items=[{"itemId": "i"}])
    with pytest.raises(system.events.exceptions.ResourceNotFoundException) as missing:
        system.events.put_items(datasetArn=f"{datasets['Items']}x", items=[item])
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_column_that_an_update_adds_can_be_put_and_the_old_schema_deleted(
    system: System, make: Maker, datasets: dict[str, str]
) -> None:
    users = datasets["Users"]
    old = system.personalize.describe_dataset(datasetArn=users)["dataset"]["schemaArn"]
    new = schema(make, "Users", column("TOWN", ["null", "string"]))
    assert system.personalize.update_dataset(datasetArn=users, schemaArn=new)["datasetArn"] == users
    dataset = until(lambda: active(system, users), 20, users)
    assert (dataset["schemaArn"], dataset["latestDatasetUpdate"]["schemaArn"]) == (new, new)
    assert dataset["latestDatasetUpdate"]["status"] == "ACTIVE"
    system.personalize.delete_schema(schemaArn=old)
    with refused("ResourceInUseException", users):
        system.personalize.delete_schema(schemaArn=new)
    user = {"userId": "u", "properties": json.dumps({"town": "Ulm", "age": "40"})}
    system.events.put_users(datasetArn=users, users=[user])


def active(system: System, arn: str) -> dict[str, Any] | None:
    dataset: dict[str, Any] = system.personalize.describe_dataset(datasetArn=arn)["dataset"]
    assert dataset["status"] in ("UPDATE PENDING", "UPDATE IN_PROGRESS", "ACTIVE")
    return dataset if dataset["status"] == "ACTIVE" else None
