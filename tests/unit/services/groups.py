"""A dataset group behind the control plane's own operations, with a store in memory and nothing running."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from services.api import app
from services.api.context import ApiContext
from services.status import transitions
from shared.http.app import Answer, Call
from shared.resources import ResourceReader
from shared.settings import Settings
from shared.state.messages import Message, Provision
from shared.store import Record
from shared.store.memory import MemoryStore

FIELDS: Mapping[str, list[dict[str, Any]]] = {
    "Interactions": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ITEM_ID", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "DEVICE_KIND", "type": ["null", "string"]},
    ],
    "Items": [
        {"name": "ITEM_ID", "type": "string"},
        {"name": "GENRES", "type": "string", "categorical": True},
        {"name": "PRICE", "type": ["null", "float"]},
    ],
    "Users": [{"name": "USER_ID", "type": "string"}, {"name": "AGE", "type": ["null", "int"]}],
    "Actions": [{"name": "ACTION_ID", "type": "string"}, {"name": "LEVEL", "type": ["null", "string"]}],
    "ActionInteractions": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ACTION_ID", "type": "string"},
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "PLACE", "type": ["null", "string"]},
    ],
}


class Queue:
    """Stands where the queue stands, and keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


class Group:
    """Its records are made by the operations themselves; ``settle`` does what the status service would."""

    def __init__(self, domain: str | None = None) -> None:
        self.store = MemoryStore()
        self.queue: Any = Queue()
        self.context = ApiContext(self.store, self.queue, ResourceReader(self.store, Settings()))
        self._numbers = itertools.count()
        self._domain = {"domain": domain} if domain else {}
        self.arn = str(self.call("CreateDatasetGroup", name="g", **self._domain)["datasetGroupArn"])
        self.settle()

    def call(self, operation: str, **request: Any) -> Mapping[str, Any]:
        number = f"{operation}{next(self._numbers)}"
        call = Call(operation=operation, request=request, request_id=number, invocation=number)
        answer = app.build_handlers(self.context)[operation](call)
        return answer.members if isinstance(answer, Answer) else answer or {}

    def settle(self) -> None:
        while self.queue.messages:
            message = self.queue.messages.pop()
            assert isinstance(message, Provision)
            transitions.provision_resource(self.store, message)

    def schema(self, name: str, fields: list[dict[str, Any]] | None = None) -> str:
        text = json.dumps({"type": "record", "name": name, "fields": fields or FIELDS[name]})
        number = next(self._numbers)
        return str(self.call("CreateSchema", name=f"s{number}", schema=text, **self._domain)["schemaArn"])

    def dataset(self, name: str, fields: list[dict[str, Any]] | None = None) -> str:
        schema = self.schema(name, fields)
        request = {"name": "d", "schemaArn": schema, "datasetGroupArn": self.arn, "datasetType": name}
        if name == "ActionInteractions":
            request["datasetType"] = "Action_Interactions"
        arn = str(self.call("CreateDataset", **request)["datasetArn"])
        self.settle()
        return arn

    def record(self, arn: str) -> Record:
        record = self.store.get(arn)
        assert record is not None
        return record

    def described(self, arn: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.call("DescribeDataset", datasetArn=arn)["dataset"]
        return found
