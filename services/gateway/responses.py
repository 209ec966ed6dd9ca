"""Build aiohttp responses: those of the services, and the gateway's own."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import uuid4

from aiohttp import web
from multidict import CIMultiDict

from shared.aws import service_model
from shared.aws.errors import PersonalizeError

#: Replaces aiohttp's header, which has its version.
SERVER = ("Server", "foretaste")


def build_response(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, *, close: bool = False
) -> web.Response:
    """Build a response with these headers and Server; aiohttp adds Date, and Connection if HTTP needs it."""
    response = web.Response(status=status, headers=CIMultiDict((*headers, SERVER)), body=body)
    if close:
        response.force_close()
    return response


def build_own_response(status: int, content_type: str, body: bytes) -> web.Response:
    return build_response(status, (("Content-Type", content_type), ("x-amzn-RequestId", str(uuid4()))), body)


def build_error_response(
    error: PersonalizeError, service: str = "personalize-runtime", *, close: bool = False
) -> web.Response:
    """Build an error response in the form of a service."""
    headers = (
        ("Content-Type", service_model.get_content_type(service)),
        ("x-amzn-RequestId", str(uuid4())),
        ("x-amzn-ErrorType", error.code),
    )
    return build_response(error.status, headers, error.encode_body(), close=close)
