"""Upstreams that close connections, break off, hang or restart: the gateway retries, waits or refuses."""

from __future__ import annotations

import threading
import time

from aiohttp import ClientTimeout

from services.gateway import upstreams as to_services
from tests.unit.services.gateway.scripted_upstream import OK, ScriptedUpstream, assert_refused, wait_until_refused

ONCE = {"amz-sdk-invocation-id": "7a2f"}


def test_a_kept_connection_that_was_closed_is_not_felt(call, upstreams) -> None:
    call()
    upstreams["api"].hang_up()
    assert call().status_code == 200


def test_a_connection_closed_on_arrival_is_tried_again_on_a_new_one(call, upstreams) -> None:
    call()
    upstreams["api"].script = [None]
    assert call(headers=ONCE, data=b'{"a":1}').status_code == 200
    (_, (first, before), (second, again)) = upstreams["api"].requests
    assert before == again.replace(b"Connection: close\r\n", b"")
    assert first != second


def test_it_is_tried_again_once(call, upstreams) -> None:
    upstreams["api"].script = [None, None, OK]
    assert_refused(call(headers=ONCE), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 2


def test_a_call_without_an_invocation_id_is_not_sent_twice(call, upstreams) -> None:
    upstreams["api"].script = [None, OK]
    assert_refused(call(), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 1


def test_an_answer_that_breaks_off_is_refused_and_not_sent_again(call, upstreams) -> None:
    upstreams["api"].script = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
    assert_refused(call(headers=ONCE), "ServiceUnavailable", 503)
    assert len(upstreams["api"].requests) == 1


def test_a_silent_upstream_is_given_up(call, upstreams, monkeypatch) -> None:
    monkeypatch.setattr(to_services, "TIMEOUT", ClientTimeout(sock_connect=1, sock_read=0.1))
    upstreams["api"].script = [b""]
    assert_refused(call(headers=ONCE), "ServiceUnavailable", 503)


def test_a_call_waits_for_an_upstream_that_is_being_restarted(call, upstreams) -> None:
    port = upstreams["api"].port
    upstreams["api"].close()
    wait_until_refused(port)
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(call().status_code), daemon=True)
    caller.start()
    caller.join(0.3)
    assert answers == []
    upstreams["api"] = ScriptedUpstream(port)
    caller.join(10)
    assert answers == [200]


def test_a_call_does_not_wait_for_ever(call, upstreams, monkeypatch) -> None:
    monkeypatch.setattr(to_services, "WAIT_SECONDS", 0.2)
    upstreams["runtime"].close()
    wait_until_refused(upstreams["runtime"].port)
    content = assert_refused(call(target="/recommendations"), "ServiceUnavailable", 503)
    assert "personalize-runtime" in content["message"]


def test_so_many_wait_and_no_more(call, upstreams, monkeypatch) -> None:
    """Two calls wait for the runtime and a third for a slot, the fourth is refused, and the API is still reached."""
    monkeypatch.setattr(to_services, "WAIT_SECONDS", 3.0)
    upstreams["runtime"].close()
    wait_until_refused(upstreams["runtime"].port)
    answers: list[tuple[float, int]] = []

    def ask() -> None:
        started = time.monotonic()
        status = call(target="/recommendations").status_code
        answers.append((time.monotonic() - started, status))

    callers = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for caller in callers:
        caller.start()
    assert call().status_code == 200
    for caller in callers:
        caller.join(10)
    assert sorted(seconds > 2 for seconds, _ in answers) == [False, True, True, True]
    assert {status for _, status in answers} == {503}
