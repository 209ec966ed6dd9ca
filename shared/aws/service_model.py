"""The 79 operations of AWS's three services, from botocore's service models, and those of foretaste's own service.

Only files that ship with botocore and those in `models/` are read: no session, no client, nothing of the user's ~/.aws.
A model is loaded at its first use, without its documentation strings (nine tenths of its size).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

SERVICES = ("personalize", "personalize-runtime", "personalize-events")
#: Operations that AWS does not have, declared in AWS's own language: they are checked, signed and shaped like the rest,
#: and a botocore client can call them if its loader searches MODELS.
OWN_SERVICE = "foretaste"
MODELS = Path(__file__).parent / "models"
SIGNING_NAME = "personalize"  # all four services


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation. `input` and `output` are botocore structure shapes; None: the body is empty."""

    service: str
    name: str
    path: str
    input: Any = field(repr=False)
    output: Any = field(repr=False)


@cache
def load_operations(service: str) -> Mapping[str, Operation]:
    """Load the operations of a service, by name. Raises KeyError for a service not in SERVICES or OWN_SERVICE."""
    model = _load_model(service)
    return {name: _build_operation(service, model.operation_model(name)) for name in model.operation_names}


@cache
def load_paths(service: str) -> Mapping[str, str]:
    """Load path -> operation of a service with fixed POST paths; empty for services with X-Amz-Target."""
    if is_json_rpc(service):
        return {}
    return {operation.path: operation.name for operation in load_operations(service).values()}


@cache
def load_targets(service: str) -> Mapping[str, str]:
    """Load X-Amz-Target -> operation; empty for a service with paths."""
    prefix = get_target_prefix(service)
    return {f"{prefix}.{name}": name for name in load_operations(service)} if prefix else {}


@cache
def get_target_prefix(service: str) -> str | None:
    """Return the part of X-Amz-Target before the dot; None for a service with paths."""
    prefix: str | None = _load_model(service).metadata.get("targetPrefix")
    return prefix


def is_json_rpc(service: str) -> bool:
    return bool(_load_model(service).metadata["protocol"] == "json")


def get_content_type(service: str) -> str:
    version = _load_model(service).metadata.get("jsonVersion")
    return f"application/x-amz-json-{version}" if is_json_rpc(service) else "application/json"


@cache
def load_error_statuses(service: str) -> Mapping[str, int]:
    """Load the HTTP status of each error code that the service's model gives; runtime and events have some."""
    model = _load_model(service)
    shapes = (model.shape_for(name) for name in model.shape_names)
    return {
        shape.error_code: shape.metadata["error"]["httpStatusCode"]
        for shape in shapes
        if shape.metadata.get("exception") and "httpStatusCode" in shape.metadata.get("error", {})
    }


@cache
def _load_model(service: str) -> Any:
    if service not in (*SERVICES, OWN_SERVICE):
        raise KeyError(service)
    folder = MODELS if service == OWN_SERVICE else Loader.BUILTIN_DATA_PATH
    # With the default search paths, ~/.aws/models could replace the models that the server validates by.
    loader = Loader(extra_search_paths=[str(folder)], include_default_search_paths=False)
    return ServiceModel(_remove_documentation(loader.load_service_model(service, "service-2")), service)


def _build_operation(service: str, model: Any) -> Operation:
    return Operation(
        service=service,
        name=model.name,
        path=model.http["requestUri"],
        input=model.input_shape,
        output=model.output_shape,
    )


def _remove_documentation(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: _remove_documentation(value)
            for key, value in node.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    return node
