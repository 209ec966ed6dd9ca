"""A refusal as the bytes that go over the wire, for where there is a connection and no application."""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from shared.aws.errors import PersonalizeError


def build_bare_response(error: PersonalizeError) -> bytes:
    """A whole HTTP answer, after which the connection closes. Its status is the error's."""
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


def with_status(error: PersonalizeError, status: int) -> PersonalizeError:
    """The same error, answered with another status than its class says."""
    error.status = status
    return error
