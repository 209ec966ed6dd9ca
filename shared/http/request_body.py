"""Read the body of a request, within limits of size and time, and parse its JSON.

The size limit is above any valid request of Personalize, which is ten items of 32,000 characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import orjson
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import get_input_stream

from shared.aws.errors import RequestTooLarge, Serialization

MAX_BODY_BYTES = 1024 * 1024
STALL_SECONDS = 10.0  # that a client may send nothing in the middle of its body

# A client that is still sending does not read. If the connection closed at once, it would see a broken connection,
# which the SDKs retry, instead of the error. So up to this much is read and discarded before the error is sent.
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES

_CHUNK = 64 * 1024


def read_body(environ: Mapping[str, Any]) -> bytes:
    """Return the body of a WSGI request. Raises RequestTooLarge, or Serialization if it ends early."""
    body = bytearray()
    read_in_all = 0
    with _limit_stalls(environ):
        for chunk in _iter_chunks(environ):
            read_in_all += len(chunk)
            if read_in_all > MAX_DISCARDED_BYTES:
                break
            if read_in_all <= MAX_BODY_BYTES:
                body += chunk
    if read_in_all > MAX_BODY_BYTES:
        raise RequestTooLarge(f"Request size exceeded {MAX_BODY_BYTES} bytes.")
    return bytes(body)


def discard_body(environ: Mapping[str, Any]) -> None:
    """Read and discard the unread body, so that the next request on the connection starts after it.

    gunicorn closes the connection if the body exceeds MAX_DISCARDED_BYTES or does not arrive.
    """
    if environ.get("CONTENT_LENGTH") or environ.get("HTTP_TRANSFER_ENCODING"):
        with suppress(RequestTooLarge, Serialization):
            read_body(environ)


def parse_json(body: bytes) -> Any:
    """Parse the JSON value of a body; an empty body is {}. Raises Serialization.

    orjson refuses bad UTF-8, lone surrogates, NaN and nesting beyond 1024 levels. The last one of repeated keys counts.
    """
    if not body:
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Serialization(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None


def _iter_chunks(environ: Mapping[str, Any]) -> Iterator[bytes]:
    try:
        stream = get_input_stream(dict(environ))
        while chunk := stream.read(_CHUNK):
            yield chunk
    except (ClientDisconnected, OSError):
        raise Serialization("The body ended before all of it had arrived.") from None
    except ParseException:
        raise Serialization("The body is not chunked as HTTP says.") from None


@contextmanager
def _limit_stalls(environ: Mapping[str, Any]) -> Iterator[None]:
    socket = environ.get("gunicorn.socket")  # other servers have time limits of their own
    if socket is None:
        yield
        return
    before = socket.gettimeout()
    socket.settimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.settimeout(before)
