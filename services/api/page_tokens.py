"""Page tokens: opaque, and valid only for the list operation and the filters that they were made for."""

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

#: Items of a page where the request has no maxResults.
DEFAULT_PAGE_SIZE = 100
UNKNOWN_POSITION = "The nextToken is not one that this service gave out."


def encode_token(after: str, operation: str, filters: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([_compute_digest(operation, filters), after])).decode()


def decode_token(token: str | None, operation: str, filters: Mapping[str, Any]) -> str | None:
    """Return the position that a token stands for. Raises InvalidNextToken."""
    if token is None:
        return None
    try:
        digest, after = orjson.loads(base64.urlsafe_b64decode(token.encode()))
        at, _, _ = after.partition("|")
        float(at)
    except (binascii.Error, ValueError, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise InvalidNextToken(UNKNOWN_POSITION) from error
    if digest != _compute_digest(operation, filters):
        raise InvalidNextToken(f"The nextToken was given out for another list than this {operation}.")
    return str(after)


def slice_page(rows: Sequence[T], call: Call) -> tuple[Sequence[T], str | None]:
    """Return the page of ``rows`` that a request asks for, and the token of the next page (None: it was the last)."""
    filters = get_filters(call)
    after = decode_token(call.request.get("nextToken"), call.operation, filters) or "0"
    if not after.isdecimal():
        raise InvalidNextToken(UNKNOWN_POSITION)
    start = int(after)
    end = start + call.request.get("maxResults", DEFAULT_PAGE_SIZE)
    return rows[start:end], encode_token(str(end), call.operation, filters) if end < len(rows) else None


def get_filters(call: Call) -> dict[str, Any]:
    """Return the members of a List request without those that choose the page."""
    return {member: value for member, value in call.request.items() if member not in ("maxResults", "nextToken")}


def dump_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _compute_digest(operation: str, filters: Mapping[str, Any]) -> str:
    described = orjson.dumps([operation, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(described).hexdigest()[:16]
