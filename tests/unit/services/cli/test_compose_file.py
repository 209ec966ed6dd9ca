"""compose.yaml starts what the local supervisor starts, and says of each process what it needs."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml

from services.cli.processes import BY_NAME, PROCESSES, Process
from shared.settings import Settings
from tests.conftest import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SETTINGS = {f"FORETASTE_{field.name.upper()}" for field in dataclasses.fields(Settings)}


def test_every_process_has_its_block_and_no_other_has() -> None:
    assert set(SERVICES) == {*BY_NAME, "redis"}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
class TestProcess:
    def test_it_starts_with_the_supervisors_command(self, process: Process) -> None:
        assert tuple(SERVICES[process.name]["command"]) == process.command

    def test_it_is_told_what_it_needs_and_nothing_unknown(self, process: Process) -> None:
        told = set(SERVICES[process.name]["environment"])
        assert set(process.environment) <= told <= SETTINGS

    def test_it_gets_no_keys_it_does_not_need(self, process: Process) -> None:
        told = SERVICES[process.name]["environment"]
        assert ("FORETASTE_SECRET_ACCESS_KEY" in told) == ("FORETASTE_SECRET_ACCESS_KEY" in process.environment)
        assert ("FORETASTE_REDIS_URL" in told) == ("FORETASTE_REDIS_URL" in process.environment)

    def test_it_runs_the_image_it_needs(self, process: Process) -> None:
        service = SERVICES[process.name]
        assert service["build"]["target"] == process.image
        assert service["image"].startswith(f"foretaste-{process.image}:")

    def test_its_health_is_looked_at(self, process: Process) -> None:
        what = "http://127.0.0.1:8000" if process.http else process.name
        assert SERVICES[process.name]["healthcheck"]["test"] == ["CMD", "python", "-m", "services.cli.health", what]

    def test_prometheus_finds_it_and_nobody_outside_does(self, process: Process) -> None:
        service = SERVICES[process.name]
        assert service["environment"]["FORETASTE_METRICS_BIND"] == "0.0.0.0:9100"
        assert not any("9100" in port for port in service.get("ports", ()))

    def test_an_http_process_listens_where_its_neighbours_look(self, process: Process) -> None:
        bind = SERVICES[process.name]["environment"].get("FORETASTE_BIND")
        assert bind == ("0.0.0.0:8000" if process.http else None)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_little_harm(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{FORETASTE_UID:-10001\}:\$\{FORETASTE_GID:-10001\}", service["user"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_pool_can_be_scaled(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert ("ports" in SERVICES[name]) == (name == "gateway")


@pytest.mark.parametrize("name", ["runtime", "importing", "training", "status"])
def test_who_writes_artifacts_or_snapshots_may(name: str) -> None:
    assert "artifacts:/data/artifacts" in SERVICES[name]["volumes"]


def test_the_one_port_is_open_on_loopback_alone() -> None:
    assert SERVICES["gateway"]["ports"] == ["${FORETASTE_HOST:-127.0.0.1}:${FORETASTE_PORT:-8080}:8000"]


def test_the_gateway_finds_the_three_services() -> None:
    told = SERVICES["gateway"]["environment"]
    for name in ("api", "runtime", "events"):
        assert told[f"FORETASTE_{name.upper()}_URL"] == f"http://{name}:8000"


@pytest.mark.parametrize("secret", ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REDIS_PASSWORD"])
def test_nothing_starts_without_secrets_of_ones_own(secret: str) -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert set(re.findall(rf"\$\{{FORETASTE_{secret}[^}}]*\}}", text)) == {
        f"${{FORETASTE_{secret}:?run make compose-env first}}"
    }


def test_redis_keeps_what_it_acknowledges() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--appendfsync") + 1] == "${FORETASTE_APPENDFSYNC:-no}"
    assert "sync -d /var/tmp/appendonlydir" in command[2]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert SERVICES["redis"]["volumes"] == [f"redis:{command[command.index('--dir') + 1]}"]
