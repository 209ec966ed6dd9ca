"""The control plane on the in-memory store, checked by AWS's model as over the wire, with nothing running."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from services.api.app import build_handlers, build_own_handlers
from services.api.context import ApiContext
from services.status import transitions as status
from shared.aws import request_schemas, serialization, service_model
from shared.http.app import Answer, Call
from shared.resources import ResourceReader
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE
from shared.state.messages import Failed, Message, Provision
from shared.store import Record
from shared.store.memory import MemoryStore

#: Of both services that the API answers.
OPERATIONS: Mapping[str, service_model.Operation] = {
    **service_model.load_operations("personalize"),
    **service_model.load_operations(service_model.OWN_SERVICE),
}
PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"
ROLE = "arn:aws:iam::000000000000:role/personalize"
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "Interactions": {
        "USER_ID": "string",
        "ITEM_ID": "string",
        "TIMESTAMP": "long",
        "EVENT_TYPE": "string",
        "SECONDS": ["null", "float"],
        "DEVICE": ["null", "string"],
    },
    "Items": {"ITEM_ID": "string", "PRICE": "float", "TITLE": ["null", "string"]},
    "Users": {"USER_ID": "string", "AGE": "int"},
}


class Sent:
    """Stands where the queue stands, and keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)


class MemoryApi:
    """Call it with an operation and its members; it has one dataset group, ``GROUP``."""

    def __init__(self, **settings: Any) -> None:
        self.store = MemoryStore()
        sent: Any = Sent()
        self.sent: Sent = sent
        self.context = ApiContext(self.store, sent, ResourceReader(self.store, Settings(**settings)))
        self.offered = {**build_handlers(self.context), **build_own_handlers(self.context)}
        self.put(GROUP, "dataset_group", {"name": "g"})

    def __call__(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.called(operation, str(uuid.uuid4()), **request)

    def called(self, operation: str, invocation: str, **request: Any) -> dict[str, Any]:
        """One try of a call, whose others bear the same invocation."""
        known = OPERATIONS[operation]
        members = request_schemas.load_request(known, request)
        result = self.offered[operation](
            Call(operation=operation, request=members, request_id="", invocation=invocation)
        )
        answer = result if isinstance(result, Answer) else Answer(members=result or {})
        shaped: dict[str, Any] = orjson.loads(serialization.serialize_answer(known, answer.members) or b"{}")
        return shaped

    def put(self, arn: str, kind: str, body: Mapping[str, Any], status: str | None = ACTIVE, **more: Any) -> str:
        """A record that is just there; its ARN."""
        record = Record(arn=arn, kind=kind, status=status, created=1.0, updated=1.0, body=body, **more)
        return self.store.create(record, invocation=arn)

    def record(self, arn: str) -> Record:
        found = self.store.get(arn)
        assert found is not None
        return found

    def end(self, arn: str) -> None:
        """Let work fail."""
        status.write_transition(self.store, Failed(arn=arn, attempt=self.record(arn).attempt, reason="It ends here."))

    def settle(self) -> None:
        """Let the status service do what it has been sent so far."""
        messages, self.sent.messages = self.sent.messages, []
        for message in messages:
            if isinstance(message, Provision):
                status.provision_resource(self.store, message)

    def dataset(self, table: str = "Interactions", group: str = "g", **more: Any) -> str:
        columns = {**SCHEMAS[table], **more}
        fields = [{"name": name, "type": type_} for name, type_ in columns.items() if type_]
        text = json.dumps({"type": "record", "name": table, "fields": fields})
        schema = self.put(f"{PREFIX}:schema/{group}-{table}", "schema", {"schema": text}, None)
        arn = f"{PREFIX}:dataset/{group}/{table.upper()}"
        body = {"datasetType": table.upper(), "schemaArn": schema, "datasetGroupArn": f"{PREFIX}:dataset-group/{group}"}
        return self.put(arn, "dataset", body, parents=(body["datasetGroupArn"], schema))

    def version(self, recipe: str = "aws-hrnn", name: str = "s", status: str = ACTIVE, group: str = GROUP) -> str:
        """The version of a solution that has one."""
        solution = f"{PREFIX}:solution/{name}"
        body = {"recipeArn": f"arn:aws:personalize:::recipe/{recipe}", "datasetGroupArn": group}
        self.put(solution, "solution", {"name": name, **body}, parents=(group,))
        return self.put(
            f"{solution}/0a1b2c3d",
            "solution_version",
            {"solutionArn": solution, **body},
            status,
            parents=(solution, group),
        )

    def filter(self, name: str = "f", group: str = "g", status: str = ACTIVE, expression: str = "") -> str:
        body = {"datasetGroupArn": f"{PREFIX}:dataset-group/{group}", "filterExpression": expression}
        return self.put(f"{PREFIX}:filter/{name}", "filter", body, status)
