"""What a process says of itself, asked over HTTP as an orchestrator and Prometheus ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from shared.observability import metrics
from shared.observability.health import HealthCheck, HealthEndpoints
from shared.settings import SettingsError

Answered = tuple[int, bytes]
Asked = Callable[..., Callable[[str], Answered]]


@pytest.fixture
def asked() -> Iterator[Asked]:
    """Health endpoints that listen until the test is over."""
    servers = []

    def listening(
        lives: Mapping[str, HealthCheck] | None = None,
        ready: Mapping[str, HealthCheck] | None = None,
        state: Collector | None = None,
    ) -> Callable[[str], Answered]:
        server = HealthEndpoints("training", alive=lives, ready=ready, collector=state).start_server("127.0.0.1:0")
        assert server is not None
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}"

        def get(path: str) -> Answered:
            answer = urllib3.request("GET", url + path, retries=False)
            return answer.status, answer.data

        return get

    yield listening
    for server in servers:
        server.shutdown()
        server.server_close()


def yes() -> bool:
    return True


def no() -> bool:
    return False


def test_a_process_that_is_well_says_so(asked: Asked) -> None:
    get = asked(lives={"beat": yes}, ready={"redis": yes})
    assert [(status, json.loads(body)) for status, body in (get("/healthz"), get("/readyz?full"))] == [
        (200, {"service": "training", "checks": {"beat": True}}),
        (200, {"service": "training", "checks": {"beat": True, "redis": True}}),
    ]


def test_one_that_lives_and_can_not_work_is_not_ready(asked: Asked) -> None:
    get = asked(lives={"beat": yes}, ready={"redis": no, "consumes": yes})
    assert get("/healthz")[0] == 200
    status, body = get("/readyz")
    assert (status, json.loads(body)["checks"]) == (503, {"beat": True, "redis": False, "consumes": True})


def test_one_that_does_not_live_is_not_ready_either(asked: Asked) -> None:
    get = asked(lives={"beat": no}, ready={"redis": yes})
    assert (get("/healthz")[0], get("/readyz")[0]) == (503, 503)


def test_nothing_else_is_there(asked: Asked) -> None:
    assert asked()("/etc/passwd")[0] == 404


def test_nobody_listens_unless_asked_to() -> None:
    assert HealthEndpoints("training").start_server("") is None
    assert HealthEndpoints("training").start_server(None) is None


@pytest.mark.parametrize("bind", ["nowhere", "127.0.0.1:many", "127.0.0.1:70000", "256.0.0.1:9100"])
def test_an_address_that_is_none_is_refused_by_its_setting(bind: str) -> None:
    with pytest.raises(SettingsError, match=f"FORETASTE_METRICS_BIND={bind}"):
        HealthEndpoints("training").start_server(bind)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: list[Sample] = [
        sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples
    ]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}


def test_prometheus_reads_what_was_counted(asked: Asked) -> None:
    metrics.count_job("dreaming", "Finished", 2.0)
    metrics.count_job("dreaming", "Died", 100.0)
    status, text = asked()("/metrics")
    read = samples(text)
    assert status == 200
    assert read["foretaste_jobs_total", (("outcome", "Finished"), ("queue", "dreaming"))] == 1
    assert read["foretaste_job_seconds_bucket", (("le", "5.0"), ("queue", "dreaming"))] == 1
    assert read["foretaste_job_seconds_sum", (("queue", "dreaming"),)] == 102
    assert ("process_resident_memory_bytes", ()) in read


def test_a_state_that_can_not_be_collected_is_no_end_of_it(asked: Asked) -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[object]:  # type: ignore[override]
            raise OSError

    get = asked(state=Broken())
    with pytest.raises(urllib3.exceptions.HTTPError):
        get("/metrics")
    assert get("/healthz")[0] == 200
