"""Page tokens: opaque, and good only for the list and the filters that they were given out for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import orjson

from shared.aws.errors import InvalidNextToken
from shared.http.app import Call

T = TypeVar("T")

#: Where a request does not say how many.
MOST_OF_A_PAGE = 100
UNKNOWN = "The nextToken is not one that this service gave out."


def write(after: str, operation: str, filters: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([_digest(operation, filters), after])).decode()


def read(token: str | None, operation: str, filters: Mapping[str, Any]) -> str | None:
    """The position that a token stands for. Raises InvalidNextToken."""
    if token is None:
        return None
    try:
        digest, after = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        at, _, _ = after.partition("|")
        float(at)
    except (binascii.Error, ValueError, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise InvalidNextToken(UNKNOWN) from error
    if digest != _digest(operation, filters):
        raise InvalidNextToken(f"The nextToken was given out for another list than this {operation}.")
    return str(after)


def part(rows: Sequence[T], call: Call) -> tuple[Sequence[T], str | None]:
    """Of a list that is all at hand: what the request asks for, and the token of what follows."""
    filters = filters_of(call)
    after = read(call.request.get("nextToken"), call.operation, filters) or "0"
    if not after.isdecimal():
        raise InvalidNextToken(UNKNOWN)
    start = int(after)
    end = start + call.request.get("maxResults", MOST_OF_A_PAGE)
    return rows[start:end], write(str(end), call.operation, filters) if end < len(rows) else None


def filters_of(call: Call) -> dict[str, Any]:
    """What a List request asks for, whichever page of it."""
    return {member: value for member, value in call.request.items() if member not in ("maxResults", "nextToken")}


def compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def _digest(operation: str, filters: Mapping[str, Any]) -> str:
    asked = orjson.dumps([operation, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()[:16]
