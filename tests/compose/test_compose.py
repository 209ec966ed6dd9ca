"""compose.yaml on a real Docker engine: a life, a scaled pool, a killed container, a restart with all found again.

Run by `make compose-test`. Each test goes on where the one before it has left the containers.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.cli.client import Personalize, connect
from services.cli.data import demo_catalogue, tables
from services.cli.local.processes import PROCESSES
from services.cli.resource_life import ResourceLife, describe_resource
from tests.conftest import ROOT, until

pytestmark = pytest.mark.compose

PROJECT = "foretaste-test"
NAME = "films"
SERVICES = [*(process.name for process in PROCESSES), "redis"]


class Stack:
    """The containers of compose.yaml under a project name of their own."""

    def __init__(self, buckets: Path, secrets_folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.buckets = buckets
        password = secrets.token_hex(20)
        self.secrets = {
            "access_key_id": "FTCOMPOSETEST",
            "secret_access_key": secrets.token_hex(20),
            "redis_password": password,
            "redis_url": f"redis://:{password}@redis:6379/0",
        }
        for name, value in self.secrets.items():
            (secrets_folder / name).write_text(f"{value}\n")
        self._environment = {
            **os.environ,
            "FORETASTE_SECRETS_FOLDER": str(secrets_folder),
            "FORETASTE_PORT": str(port),
            "FORETASTE_BUCKETS_FOLDER": str(buckets),
        }
        url = f"http://127.0.0.1:{port}"
        self.client: Mapping[str, str] = {
            "AWS_ACCESS_KEY_ID": self.secrets["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["secret_access_key"],
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_PERSONALIZE": url,
        }

    @property
    def aws(self) -> Personalize:
        return connect(self.client)

    def compose(self, *arguments: str, seconds: float = 900) -> str:
        return self.docker("compose", "--project-name", PROJECT, *arguments, seconds=seconds)

    def docker(self, *arguments: str, seconds: float = 60) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def containers(self, service: str) -> list[dict[str, Any]]:
        lines = self.compose("ps", "--format", "json", service).splitlines()
        return [json.loads(line) for line in lines]

    def shell(self, service: str, command: str) -> str:
        return self.compose("exec", "--no-TTY", service, "sh", "-c", command).strip()

    def redis(self, *command: str) -> str:
        ask = f"REDISCLI_AUTH=$(cat /run/secrets/redis_password) valkey-cli {shlex.join(command)}"
        return self.shell("redis", ask)

    def inspected(self, service: str) -> dict[str, Any]:
        (container,) = self.containers(service)
        found: dict[str, Any] = json.loads(self.docker("inspect", container["ID"]))[0]
        return found


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder, secrets_folder = tmp_path_factory.mktemp("buckets"), tmp_path_factory.mktemp("secrets")
    # The containers' user is none of this machine's.
    for path in (folder, secrets_folder, *folder.parents[:2]):
        path.chmod(0o755)
    folder.chmod(0o777)
    running = Stack(folder, secrets_folder)
    running.compose("down", "--volumes", "--remove-orphans")
    try:
        running.compose("up", "--detach", "--build", "--wait", seconds=1800)
        yield running
    finally:
        running.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture(scope="module")
def life(stack: Stack) -> ResourceLife:
    return ResourceLife(stack.aws, NAME)


@pytest.fixture(scope="module")
def solution(stack: Stack, life: ResourceLife) -> str:
    """A solution over imported films."""
    demo_catalogue.write_demo_data(stack.buckets / NAME)
    group = life.create_dataset_group()
    for table in tables.read_tables(stack.buckets / NAME):
        dataset = life.create_dataset(group, table.dataset_type, table.schema)
        life.import_dataset(dataset, f"{NAME}-{table.dataset_type}", f"s3://{NAME}/{table.path.name}")
    return life.create_solution(group, "aws-hrnn")


def recommended(stack: Stack, campaign: str, user: str = "7") -> list[str]:
    answer = stack.aws.runtime.get_recommendations(campaignArn=campaign, userId=user, numResults=10)
    return [item["itemId"] for item in answer["itemList"]]


def the_campaign(stack: Stack) -> str:
    (campaign,) = stack.aws.control.list_campaigns()["campaigns"]
    return str(campaign["campaignArn"])


def test_a_life(stack: Stack, life: ResourceLife, solution: str) -> None:
    version = life.create_solution_version(solution)
    metrics = life.get_metrics(version)
    assert metrics.popularity is not None
    name = "normalized_discounted_cumulative_gain_at_25"
    assert metrics.model[name] > 1.8 * metrics.popularity[name]

    campaign = life.deploy_campaign(version)
    before = recommended(stack, campaign)
    assert len(before) == 10

    group = stack.aws.control.list_dataset_groups()["datasetGroups"][0]["datasetGroupArn"]
    stack.aws.events.put_events(
        trackingId=life.create_event_tracker(group),
        userId="7",
        sessionId="a",
        eventList=[{"eventType": "watch", "itemId": item, "sentAt": datetime.now(UTC)} for item in ("3", "4", "5")],
    )
    assert recommended(stack, campaign) != before


def test_a_killed_container_of_a_scaled_pool_is_replaced_by_another(
    stack: Stack, life: ResourceLife, solution: str
) -> None:
    stack.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "training=3")
    assert len(stack.containers("training")) == 3
    made = stack.aws.control.create_solution_version(solutionArn=solution)["solutionVersionArn"]

    def holder() -> str:
        fields = stack.redis("HGET", f"foretaste:lease:{made}", "worker")
        return fields.partition("@")[2].partition(":")[0]

    container = until(holder, 60, "a worker to take the training up")
    until(lambda: "epoch" in describe_resource(stack.aws, "solution_version", made)[1], 120, "the first epoch")
    stack.docker("kill", container)
    taken = until(lambda: (now := holder()) and now != container and now, 60, "another worker to take it up")
    assert taken in {one["ID"] for one in stack.containers("training")}
    life.wait_until_usable("solution_version", made)


def test_all_is_found_again_after_down_and_up(stack: Stack) -> None:
    campaign = the_campaign(stack)
    before = recommended(stack, campaign)
    stack.compose("down")
    stack.compose("up", "--detach", "--wait")
    assert the_campaign(stack) == campaign
    assert recommended(stack, campaign) == before
    versions = stack.aws.control.list_solution_versions()["solutionVersions"]
    assert [version["status"] for version in versions] == ["ACTIVE", "ACTIVE"]


def test_redis_writes_at_once_and_its_file_is_synced_beside_it(stack: Stack) -> None:
    assert stack.redis("config", "get", "appendfsync").split() == ["appendfsync", "no"]
    assert stack.redis("config", "get", "appendonly").split() == ["appendonly", "yes"]

    stack.shell("redis", "sync -d /var/tmp/appendonlydir/*.aof")
    until(lambda: "sleep" in stack.shell("redis", "cat /proc/[0-9]*/comm"), 10)


def test_no_secret_is_among_the_processes_of_the_host_or_in_what_docker_tells(stack: Stack) -> None:
    running = "".join(map(_command_line, Path("/proc").glob("[0-9]*/cmdline")))
    assert "valkey-server" in running or "redis-server" in running
    for name in SERVICES:
        told = running + json.dumps(stack.inspected(name))
        assert [secret for secret, value in stack.secrets.items() if value in told] == []


def _command_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return ""


def test_who_is_published_can_not_reach_redis(stack: Stack) -> None:
    program = "import socket; socket.create_connection(('{}', {}), 2).close(); print('reached')"
    reach = 'python -c "{}" 2>&1 || true'
    assert stack.shell("gateway", reach.format(program.format("api", 8000))) == "reached"
    assert stack.shell("api", reach.format(program.format("redis", 6379))) == "reached"
    assert "reached" not in stack.shell("gateway", reach.format(program.format("redis", 6379)))
    addresses = stack.inspected("redis")["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for network in addresses.values())
    assert "reached" not in stack.shell("gateway", reach.format(program.format(address, 6379)))


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_takes_no_more_than_its_share(stack: Stack, service: str) -> None:
    limits = stack.inspected(service)["HostConfig"]
    assert limits["Memory"] >= 768 * 1024**2
    assert 0 < limits["PidsLimit"] <= 1024
    bounded = service not in ("redis", "runtime", "importing", "training", "inference")
    assert limits["NanoCpus"] == (10**9 if bounded else 0)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_runs_without_root_and_can_not_write_to_its_image(stack: Stack, service: str) -> None:
    assert stack.compose("exec", "--no-TTY", service, "id", "-u").strip() == "10001"
    inspected = stack.inspected(service)
    assert inspected["HostConfig"]["ReadonlyRootfs"]
    assert inspected["State"]["Health"]["Status"] == "healthy"


def test_torch_is_where_it_is_needed_and_nowhere_else(stack: Stack) -> None:
    for process in PROCESSES:
        program = "import importlib.util; print(importlib.util.find_spec('torch') is not None)"
        has_torch = stack.compose("exec", "--no-TTY", process.name, "python", "-c", program).strip()
        assert has_torch == str(process.image == "train")


def test_only_the_gateway_is_reachable_and_only_from_here(stack: Stack) -> None:
    published = {
        process.name: [
            port["URL"] for port in stack.containers(process.name)[0]["Publishers"] or () if port["PublishedPort"]
        ]
        for process in PROCESSES
    }
    assert {name for name, urls in published.items() if urls} == {"gateway"}
    assert set(published["gateway"]) == {"127.0.0.1"}
