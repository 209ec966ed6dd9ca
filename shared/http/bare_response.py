"""Error responses as bytes, for a connection that no application answers."""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from shared.aws.errors import PersonalizeError


def build_bare_response(error: PersonalizeError) -> bytes:
    """Build a whole HTTP response with the status of the error, after which the connection closes."""
    status, body = HTTPStatus(error.status), error.encode_body()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"x-amzn-RequestId: {uuid4()}\r\n"
        f"x-amzn-ErrorType: {error.code}\r\n\r\n"
    )
    return head.encode() + body


def set_status(error: PersonalizeError, status: int) -> PersonalizeError:
    """Set the status of an error to another one than its class has, and return it."""
    error.status = status
    return error
