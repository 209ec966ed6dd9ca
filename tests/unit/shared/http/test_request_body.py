"""A body is read up to its limit, and not waited for for ever."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest

from shared.aws.errors import RequestTooLarge, Serialization
from shared.http import request_body


def environ(body: bytes, **changes: Any) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))} | changes


def test_it_is_read_whole() -> None:
    assert request_body.read_body(environ(b"x" * request_body.MAX_BODY_BYTES)) == b"x" * request_body.MAX_BODY_BYTES


def test_it_ends_where_it_says() -> None:
    assert request_body.read_body(environ(b"one, and the next request", CONTENT_LENGTH="3")) == b"one"


def test_without_a_length_there_is_none() -> None:
    assert request_body.read_body({"wsgi.input": io.BytesIO(b"the next request")}) == b""


def test_chunks_are_put_together() -> None:
    chunked = {"wsgi.input": io.BytesIO(b"x" * 200_000), "wsgi.input_terminated": True}
    assert request_body.read_body(chunked) == b"x" * 200_000


def test_too_much_is_read_away_so_that_the_refusal_is_heard() -> None:
    too_much = environ(b"x" * 5_000_000)
    with pytest.raises(RequestTooLarge, match="1048576 bytes"):
        request_body.read_body(too_much)
    assert too_much["wsgi.input"].read() == b""


def test_patience_with_too_much_ends(monkeypatch) -> None:
    monkeypatch.setattr(request_body, "MAX_DISCARDED_BYTES", 2_000_000)
    endless = environ(b"x" * 5_000_000)
    with pytest.raises(RequestTooLarge):
        request_body.read_body(endless)
    assert len(endless["wsgi.input"].read()) > 2_500_000


def test_a_body_that_breaks_off_is_refused() -> None:
    with pytest.raises(Serialization, match="ended before"):
        request_body.read_body(environ(b"{", CONTENT_LENGTH="100"))


def test_a_body_that_stands_still_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(request_body, "STALL_SECONDS", 0.05)
    client, server = socket.socketpair()
    with client, server:
        client.sendall(b"{")
        stalled = {"wsgi.input": server.makefile("rb"), "wsgi.input_terminated": True, "gunicorn.socket": server}
        with pytest.raises(Serialization, match="ended before"):
            request_body.read_body(stalled)
        assert server.gettimeout() is None


def test_no_body_is_an_empty_object() -> None:
    assert request_body.parse_json(b"") == {}


def test_what_is_no_json_is_told_where() -> None:
    with pytest.raises(Serialization, match="at character 5"):
        request_body.parse_json(b'{"a":nope}')
