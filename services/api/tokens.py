"""Page tokens: opaque, and good only for the list and the filters that they were given out for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from shared.aws.errors import InvalidNextToken


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
        raise InvalidNextToken("The nextToken is not one that this service gave out.") from error
    if digest != _digest(operation, filters):
        raise InvalidNextToken(f"The nextToken was given out for another list than this {operation}.")
    return str(after)


def compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def _digest(operation: str, filters: Mapping[str, Any]) -> str:
    asked = orjson.dumps([operation, filters], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(asked).hexdigest()[:16]
