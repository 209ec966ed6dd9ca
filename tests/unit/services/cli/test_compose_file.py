"""compose.yaml starts what the local supervisor starts, and says of each process what it needs."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.local.embedded_redis import find_binary, is_answering
from services.cli.local.processes import BY_NAME, PROCESSES, ProcessSpec
from shared.settings import SECRETS, Settings
from tests.conftest import ROOT, free_port, until

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
SETTINGS = {f"FORETASTE_{field.name.upper()}" for field in dataclasses.fields(Settings)}
IN_FILES = {f"FORETASTE_{name.upper()}" for name in SECRETS}


def told(process: ProcessSpec) -> dict[str, str]:
    """Variable -> its value, or the path of the file that holds it."""
    return {name.removesuffix("_FILE"): value for name, value in SERVICES[process.name]["environment"].items()}


def test_every_process_has_its_block_and_no_other_has() -> None:
    assert set(SERVICES) == {*BY_NAME, "redis"}


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
class TestProcess:
    def test_it_starts_with_the_supervisors_command(self, process: ProcessSpec) -> None:
        assert tuple(SERVICES[process.name]["command"]) == process.command

    def test_it_is_told_what_it_needs_and_nothing_unknown(self, process: ProcessSpec) -> None:
        assert set(process.environment) <= set(told(process)) <= SETTINGS

    def test_it_gets_no_keys_it_does_not_need_and_those_as_files(self, process: ProcessSpec) -> None:
        secrets = {name: value for name, value in told(process).items() if name in IN_FILES}
        assert set(secrets) == set(process.environment) & IN_FILES
        mounted = SERVICES[process.name].get("secrets", [])
        assert sorted(secrets.values()) == sorted(f"/run/secrets/{name}" for name in mounted)

    def test_who_is_published_does_not_share_a_network_with_redis(self, process: ProcessSpec) -> None:
        networks = set(SERVICES[process.name]["networks"])
        assert SERVICES["redis"]["networks"] == ["back"]
        assert ("back" in networks) == ("FORETASTE_REDIS_URL" in process.environment)
        assert ("front" in networks) == process.http

    def test_it_runs_the_image_it_needs(self, process: ProcessSpec) -> None:
        service = SERVICES[process.name]
        assert service["build"]["target"] == process.image
        assert service["image"].startswith(f"foretaste-{process.image}:")

    def test_its_health_is_looked_at(self, process: ProcessSpec) -> None:
        what = "http://127.0.0.1:8000" if process.http else process.name
        assert SERVICES[process.name]["healthcheck"]["test"] == ["CMD", "python", "-m", "services.cli.health", what]

    def test_prometheus_finds_it_and_nobody_outside_does(self, process: ProcessSpec) -> None:
        service = SERVICES[process.name]
        assert service["environment"]["FORETASTE_METRICS_BIND"] == "0.0.0.0:9100"
        assert not any("9100" in port for port in service.get("ports", ()))

    def test_an_http_process_listens_where_its_neighbours_look(self, process: ProcessSpec) -> None:
        bind = SERVICES[process.name]["environment"].get("FORETASTE_BIND")
        assert bind == ("0.0.0.0:8000" if process.http else None)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_little_harm(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{FORETASTE_UID:-10001\}:\$\{FORETASTE_GID:-10001\}", service["user"])
    assert re.fullmatch(r"\$\{FORETASTE_\w*MEMORY:-\d+[mg]\}", service["mem_limit"])
    # A number of processors that a machine does not have would be refused by it.
    assert re.fullmatch(r"\$\{FORETASTE_\w*CPUS:-[01]\}", service["cpus"])
    assert 0 < service["pids_limit"] <= 1024


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


def test_secrets_are_files_of_ones_own_and_nowhere_else() -> None:
    folder = "${FORETASTE_SECRETS_FOLDER:?run make compose-env first}"
    assert COMPOSE["secrets"] == {
        name: {"file": f"{folder}/{name}"}
        for name in ("redis_password", "redis_url", "access_key_id", "secret_access_key")
    }
    text = (ROOT / "compose.yaml").read_text()
    assert not re.findall(r"\$\{FORETASTE_\w*(?:KEY\b|KEY_ID|PASSWORD|REDIS_URL)", text)
    assert "--requirepass" not in text


def test_images_of_others_can_be_pinned() -> None:
    """By the variables that `make compose-pins` writes."""
    pins = (ROOT / "deploy" / "compose-pins.sh").read_text()
    text = (ROOT / "compose.yaml").read_text()
    for variable, image in re.findall(r"^pin (\w+) (\S+)$", pins, re.MULTILINE):
        assert f"${{{variable}:-{image}}}" in text
    assert SERVICES["redis"]["image"] == "${FORETASTE_VALKEY_IMAGE:-valkey/valkey:8-alpine}"
    bases = set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert bases == {"scratch", "base", "train-base", "${PYTHON_IMAGE}"}


def test_redis_gets_its_password_where_no_list_of_processes_shows_it(tmp_path: Path) -> None:
    """The command of the container, with folders of this test's and the server that is at hand."""
    (tmp_path / "password").write_text("pass-of-the-test\n")
    (tmp_path / "valkey-server").symlink_to(find_binary())
    port = free_port()
    command = [
        word.replace("$$", "$").replace("/run/secrets/redis_password", str(tmp_path / "password"))
        for word in SERVICES["redis"]["command"]
    ]
    command[command.index("--dir") + 1] = str(tmp_path)
    command[command.index("--appendfsync") + 1] = "no"
    command[command.index("--maxmemory") + 1] = "100mb"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            until(lambda: is_answering(f"redis://:pass-of-the-test@127.0.0.1:{port}/0"), 20)
            assert not is_answering(f"redis://127.0.0.1:{port}/0")
            shown = subprocess.run(["ps", "-e", "-o", "args"], capture_output=True, text=True, check=True).stdout
            assert f"--port {port}" in shown or f":{port}" in shown
            assert "pass-of-the-test" not in shown
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_redis_keeps_what_it_acknowledges() -> None:
    command = SERVICES["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--appendfsync") + 1] == "${FORETASTE_APPENDFSYNC:-no}"
    assert "sync -d /var/tmp/appendonlydir" in command[2]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert SERVICES["redis"]["volumes"] == [f"redis:{command[command.index('--dir') + 1]}"]
