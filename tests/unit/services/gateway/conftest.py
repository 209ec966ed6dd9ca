"""A running gateway whose upstreams follow a script, and a function that calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection

import pytest

from shared.settings import Settings
from tests.unit.services.gateway.running import Running
from tests.unit.services.gateway.scripted_upstream import GatewayAnswer, ScriptedUpstream


@pytest.fixture
def upstreams() -> Iterator[dict[str, ScriptedUpstream]]:
    started = {name: ScriptedUpstream() for name in ("api", "runtime", "events")}
    yield started
    for upstream in started.values():
        upstream.close()


@pytest.fixture
def settings(upstreams) -> Settings:
    urls = {f"{name}_url": f"http://127.0.0.1:{upstream.port}" for name, upstream in upstreams.items()}
    return Settings(**urls, gateway_calls=2, gateway_waiting=1)


@pytest.fixture
def call(settings) -> Iterator[Callable[..., GatewayAnswer]]:
    with Running(settings) as port:

        def send(
            method: str = "POST",
            target: str = "/",
            headers: Mapping[str, str] | None = None,
            data: bytes | Iterator[bytes] | None = None,
        ) -> GatewayAnswer:
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            given = dict(headers or {})
            connection.putrequest(method, target, skip_accept_encoding=True, skip_host="Host" in given)
            chunked = data is not None and not isinstance(data, bytes)
            given |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(data or b""))}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(data, encode_chunked=chunked)
            answer = connection.getresponse()
            answered = GatewayAnswer(answer.status, answer.read(), answer.headers)
            connection.close()
            return answered

        yield send
