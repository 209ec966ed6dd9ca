"""The gateway's own answers: /ping, /healthz, /readyz, its metrics, and errors of its own."""

from __future__ import annotations

import json

import pytest
from prometheus_client import REGISTRY

from services.gateway import upstreams as to_services
from tests.unit.services.gateway.scripted_upstream import assert_refused, wait_until_refused


def test_ping_tells_of_all_upstreams(call, upstreams) -> None:
    answer = call("GET", "/ping")
    assert answer.status_code == 200
    assert json.loads(answer.data) == {
        "service": "gateway",
        "upstreams": {"personalize": True, "personalize-runtime": True, "personalize-events": True},
    }
    upstreams["events"].close()
    upstreams["events"].hang_up()
    wait_until_refused(upstreams["events"].port)
    answer = call("GET", "/ping")
    assert answer.status_code == 503
    assert json.loads(answer.data)["upstreams"] == {
        "personalize": True,
        "personalize-runtime": True,
        "personalize-events": False,
    }


@pytest.mark.parametrize("target", ["/metrics", "/metrics?a", "/metrics#a", "/metrics?a#b", "/metrics#a?b"])
def test_nobody_sees_metrics_through_the_gateway(call, upstreams, target) -> None:
    assert_refused(call("GET", target), "UnknownOperationException", 404)
    assert [upstream.requests for upstream in upstreams.values()] == [[], [], []]


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/readyz?a"])
def test_the_gateway_speaks_of_its_own_health(call, upstreams, target) -> None:
    assert json.loads(call("GET", target).data)["service"] == "gateway"
    asked = [request for upstream in upstreams.values() for _, request in upstream.requests]
    assert all(request.startswith(b"GET /ping ") for request in asked)


def test_it_is_ready_when_its_upstreams_are(call, upstreams) -> None:
    assert (call("GET", "/healthz").status_code, call("GET", "/readyz").status_code) == (200, 200)
    upstreams["events"].close()
    upstreams["events"].hang_up()
    wait_until_refused(upstreams["events"].port)
    assert (call("GET", "/healthz").status_code, call("GET", "/readyz").status_code) == (200, 503)


def test_its_answers_are_counted_by_service(call) -> None:
    labels = {"service": "personalize-events", "status": "200"}
    before = REGISTRY.get_sample_value("foretaste_gateway_requests_total", labels) or 0.0
    call(target="/events")
    call("GET", "/readyz")
    assert REGISTRY.get_sample_value("foretaste_gateway_requests_total", labels) == before + 1


def test_a_fault_of_its_own_is_no_html(call, monkeypatch) -> None:
    monkeypatch.setattr(to_services.Upstream, "_send_once", lambda *_: 1 / 0)
    assert "division" not in assert_refused(call(), "InternalFailure", 500)["message"]
