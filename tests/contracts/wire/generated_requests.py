"""Requests made from the service models: valid ones, minimal and full, and every fault that one value can have."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# One text for each pattern of the models; a pattern that a new botocore brings must be added here.
SAMPLES = {
    r"arn:([a-z\d-]+):personalize:.*:.*:.+": "arn:aws:personalize:us-east-1:000000000000:schema/a",
    r"[A-Za-z_][A-Za-z\d_]*": "GENRE_2",
    r"^[A-Za-z_]+$": "Interactions",
    r"arn:aws.*:kms:.*:[0-9]{12}:key/.*": "arn:aws:kms:us-east-1:000000000000:key/a",
    r"^[a-zA-Z0-9][a-zA-Z0-9\-_]*": "a-name",
    r"\p{ASCII}{0,1500}": "token~",
    r"arn:([a-z\d-]+):iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+": "arn:aws:iam::000000000000:role/a",
    r"(s3|http|https)://.+": "s3://bucket/key",
    r"rate\(\d+ days?\)": "rate(7 days)",
    r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$": "Größe 東京 ٣",
    r"[A-Za-z\d_]+": "DEVICE_1",
    r"[A-Za-z0-9_]+": "GENRE_1",
    r"^[\x20-\x7E]*[\x21-\x7E]+[\x20-\x7E]*$": "a source",
}
BROKEN_BY = dict.fromkeys(SAMPLES, "\n")  # a line feed: `$` alone would let it pass at the end
BROKEN_BY[r"\p{ASCII}{0,1500}"] = "é"

ABSENT = object()
WRONG_TYPES: dict[str, list[Any]] = {
    "string": [5, 1.5, True, ["a"], {"a": "a"}],
    "boolean": ["true", 1, 0, []],
    "integer": ["5", 1.5, True, 2**31, {}],
    "float": ["5", True, []],
    "double": ["5", True, []],
    "timestamp": ["2026-01-01T00:00:00Z", True, 1.8e15, -1e300, 10**30],
    "list": [{}, "a", {"0": "a"}],
    "map": [[], "a", 5],
    "structure": [[], "a", 5, True],
}

SERIALIZATION, VALIDATION = "SerializationException", "ValidationException"


@dataclass(frozen=True)
class Fault:
    path: tuple[str | int, ...]
    value: Any
    code: str

    def applied(self, request: Any) -> Any:
        if not self.path:
            return self.value
        broken = copy.deepcopy(request)
        place = broken
        for step in self.path[:-1]:
            place = place[step]
        if self.value is ABSENT:
            del place[self.path[-1]]
        else:
            place[self.path[-1]] = self.value
        return broken


def minimal(shape: Any) -> Any:
    return _valid(shape, lambda structure: structure.required_members)


def full(shape: Any) -> Any:
    return _valid(shape, lambda structure: structure.members)


def _valid(shape: Any, names: Any) -> Any:
    limits = shape.metadata
    match shape.type_name:
        case "structure":
            return {name: _valid(shape.members[name], names) for name in names(shape)}
        case "list":
            return [_valid(shape.member, names) for _ in range(limits.get("min") or 1)]
        case "map":
            return {_valid(shape.key, names): _valid(shape.value, names)}
        case "string":
            return _text(limits)
        case "boolean":
            return False
        case "timestamp":
            return 1_700_000_000.917
        case _:
            return limits.get("min", limits.get("max", 1))


def _text(limits: Any) -> str:
    if "enum" in limits:
        return str(limits["enum"][0])
    return SAMPLES[limits["pattern"]] if "pattern" in limits else "a"


def faults(shape: Any, path: tuple[str | int, ...] = (), keys: str = "") -> Iterator[Fault]:
    """Every fault of the full request, one at a time."""
    for value in WRONG_TYPES[shape.type_name]:
        yield Fault(path, value, SERIALIZATION)
    yield from (Fault(path, value, VALIDATION) for value in _breaking(shape))
    match shape.type_name:
        case "structure":
            for name in shape.required_members:
                yield Fault((*path, name), ABSENT, VALIDATION)
                yield Fault((*path, name), None, VALIDATION)
            for name, member in shape.members.items():
                yield from faults(member, (*path, name))
        case "list":
            yield Fault((*path, 0), None, SERIALIZATION)
            yield from faults(shape.member, (*path, 0))
        case "map":
            (key,) = full(shape)
            yield Fault((*path, key), None, SERIALIZATION)
            for bad in _breaking(shape.key):
                yield Fault(path, {bad: full(shape.value)}, VALIDATION)
            yield from faults(shape.value, (*path, key))


def _breaking(shape: Any) -> Iterator[Any]:
    limits, kind = shape.metadata, shape.type_name
    least, most = limits.get("min"), limits.get("max")
    if kind == "string":
        yield _text(limits) + "\0"
        if least:
            yield ""
        if most is not None:
            yield _text(limits) * (most + 1)
        if "pattern" in limits:
            yield _text(limits) + BROKEN_BY[limits["pattern"]]
        if "enum" in limits:
            yield limits["enum"][0].lower()
    elif kind == "list":
        if least:
            yield []
        if most is not None:
            yield [full(shape.member)] * (most + 1)
    elif kind == "map" and most is not None and "enum" not in shape.key.metadata:
        yield {f"{full(shape.key)[:4]}{n}".replace("~", ""): full(shape.value) for n in range(most + 1)}
    elif kind in ("integer", "float", "double"):
        if least is not None:
            yield least - 1
            if kind != "integer":
                yield "NaN"
        if most is not None:
            yield most + 1
