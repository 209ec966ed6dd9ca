"""One signed request over a kept connection, and its answer held against AWS's service model."""

from __future__ import annotations

import http.client
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser

from shared.aws import service_model

OPERATIONS: Mapping[str, service_model.Operation] = {
    name: operation
    for service in service_model.SERVICES
    for name, operation in service_model.load_operations(service).items()
}
#: What every operation may answer besides the errors that its own model lists.
COMMON = {"ValidationException", "SerializationException"}
#: Its model lists InvalidInputException alone; AWS's guide has it answer for an unknown tracker too.
MORE: Mapping[str, set[str]] = {"PutEvents": {"ResourceNotFoundException"}}


@dataclass(frozen=True)
class Reply:
    operation: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """AWS's name of the refusal; "" for an answer."""
        return "" if self.status == 200 else str(json.loads(self.body)["__type"])

    @property
    def members(self) -> Any:
        return json.loads(self.body) if self.body else {}

    def __str__(self) -> str:
        return f"{self.operation} answered {self.status} {self.body[:300].decode()}"


@dataclass
class Wire:
    """The three services of one system; counts what it has seen."""

    environment: Mapping[str, str]
    counts: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    """Those that have answered."""

    def __post_init__(self) -> None:
        self._url = self.environment["AWS_ENDPOINT_URL_PERSONALIZE"]
        self._connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=60)
        keys = Credentials(self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"])
        self._signer = SigV4Auth(keys, service_model.SIGNING_NAME, self.environment["AWS_REGION"])
        self._models = {service: _service_model(service) for service in service_model.SERVICES}

    def send(self, name: str, request: Any, *, invocation: str = "") -> Reply:
        """The answer, which is found to be of the form that AWS's model gives it."""
        operation = OPERATIONS[name]
        payload = json.dumps(request).encode()
        headers = {
            "Content-Type": service_model.get_content_type(operation.service),
            "Host": urlsplit(self._url).netloc,
            "X-Amz-Target": f"AmazonPersonalize.{name}",
            "amz-sdk-invocation-id": invocation or str(uuid.uuid4()),
        }
        signed = AWSRequest("POST", self._url + operation.path, data=payload, headers=headers)
        self._signer.add_auth(signed)
        self._connection.request("POST", operation.path, payload, dict(signed.headers.items()))
        answer = self._connection.getresponse()
        reply = Reply(name, answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        if problems := list(self._problems(operation, reply)):
            raise AssertionError(f"{reply}: {'; '.join(problems)}")
        self.counts["answers checked"] += 1
        if reply.status == 200:
            self.operations.add(name)
        return reply

    def _problems(self, operation: service_model.Operation, reply: Reply) -> Iterator[str]:
        if reply.headers.get("content-type") != service_model.get_content_type(operation.service):
            yield f"content type {reply.headers.get('content-type')}"
        if len(reply.headers.get("x-amzn-requestid", "")) != 36:
            yield "no request id"
        known = self._models[operation.service].operation_model(operation.name)
        if reply.status == 200:
            yield from self._problems_of_an_answer(operation, known, reply)
            return
        refusal = json.loads(reply.body)
        if set(refusal) != {"__type", "message"} or not refusal["message"]:
            yield "not the form of an error"
        if reply.headers.get("x-amzn-errortype") != refusal.get("__type"):
            yield "header and body name different errors"
        listed = {shape.error_code for shape in known.error_shapes} | COMMON | MORE.get(operation.name, set())
        if refusal.get("__type") not in listed | {"UnsupportedOperationException"}:
            yield f"{operation.name} never answers {refusal.get('__type')}"
        if reply.status != service_model.load_error_statuses(operation.service).get(refusal.get("__type"), 400):
            yield f"HTTP status {reply.status}"

    def _problems_of_an_answer(self, operation: service_model.Operation, known: Any, reply: Reply) -> Iterator[str]:
        if operation.output is None:
            if reply.body:
                yield "a body where AWS sends none"
            return
        yield from mismatches(operation.output, json.loads(reply.body))
        parser = create_parser(self._models[operation.service].metadata["protocol"])
        parsed = parser.parse({"status_code": 200, "headers": reply.headers, "body": reply.body}, known.output_shape)
        parsed.pop("ResponseMetadata")
        if set(parsed) != set(json.loads(reply.body)):
            yield "botocore reads other members than were sent"


def mismatches(shape: Any, value: Any, path: str = "answer") -> Iterator[str]:
    """Where a JSON value is not of a shape: unknown or null members, wrong types, words that no enum has, lengths.

    Patterns are not asked for: AWS's own answers break those of its model.
    """
    limits = shape.metadata
    match shape.type_name, value:
        case "structure", dict():
            yield from (f"{path}.{name} is unknown" for name in value.keys() - shape.members.keys())
            yield from (f"{path}.{name} is missing" for name in set(shape.required_members) - value.keys())
            for name in value.keys() & shape.members.keys():
                yield from mismatches(shape.members[name], value[name], f"{path}.{name}")
        case "list", list():
            if len(value) > limits.get("max", math.inf):
                yield f"{path} has {len(value)} entries"
            for number, one in enumerate(value):
                yield from mismatches(shape.member, one, f"{path}[{number}]")
        case "map", dict():
            for key, one in value.items():
                yield from mismatches(shape.key, key, f"{path} key {key}")
                yield from mismatches(shape.value, one, f"{path}.{key}")
        case "string", str():
            if "enum" in limits and value not in limits["enum"]:
                yield f"{path} is {value!r}, no word of its enum"
            if len(value) > limits.get("max", math.inf):
                yield f"{path} has {len(value)} characters"
        case "boolean", bool():
            return
        case (("integer" | "long"), int()) if not isinstance(value, bool):
            if not limits.get("min", value) <= value <= limits.get("max", value):
                yield f"{path} is {value}"
        case (("float" | "double" | "timestamp"), int() | float()) if not isinstance(value, bool):
            return
        case _:
            yield f"{path} is {value!r}, no {shape.type_name}"


def _service_model(service: str) -> Any:
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    return ServiceModel(loader.load_service_model(service, "service-2"), service)
