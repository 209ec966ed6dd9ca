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
DEFAULT_PAGE_SIZE = 100
UNKNOWN_TOKEN = "The nextToken is not one that this service gave out."


def encode_token(after: str, operation: str, filters: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([_compute_digest(operation, filters), after])).decode()


def decode_token(token: str | None, operation: str, filters: Mapping[str, Any]) -> str | None:
    """The position that a token stands for. Raises InvalidNextToken."""
    if token is None:
        return None
    try:
        digest, after = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        at, _, _ = after.partition("|")
        float(at)
    except (binascii.Error, ValueError, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise InvalidNextToken(UNKNOWN_TOKEN) from error
    if digest != _compute_digest(operation, filters):
        raise InvalidNextToken(f"The nextToken was given out for another list than this {operation}.")
    return str(after)


def slice_page(rows: Sequence[T], call: Call) -> tuple[Sequence[T], str | None]:
    """Of a list that is all at hand: what the request asks for, and the token of what follows."""
    filters = get_filters(call)
    after = decode_token(call.request.get("nextToken"), call.operation, filters) or "0"
    if not after.isdecimal():
        raise InvalidNextToken(UNKNOWN_TOKEN)
    start = int(after)
    end = start + call.request.get("maxResults", DEFAULT_PAGE_SIZE)
    return rows[start:end], encode_token(str(end), call.operation, filters) if end < len(rows) else None


def get_filters(call: Call) -> dict[str, Any]:
    """What a List request asks for, whichever page of it."""
    return {member: value for member, value in call.request.items() if member not in ("maxResults", "nextToken")}


def dump_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _compute_digest(operation: str, filters: Mapping[str, Any]) -> str:
    asked = orjson.dumps([operation, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()[:16]
