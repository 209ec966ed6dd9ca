"""What the processes of a running system are: small where nothing is trained or scored, and without torch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import System, processes

MIB = 1024


@pytest.mark.parametrize("part", ["services.api", "services.events", "services.status", "services.gateway"])
def test_it_holds_no_torch_and_stays_below_90_mib(system: System, part: str) -> None:
    system.personalize.list_recipes()
    pids = processes(system, part)
    assert pids
    for pid in pids:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        assert resident is not None
        assert int(resident[1]) < 90 * MIB


def test_every_process_listens_on_loopback_alone(system: System) -> None:
    ours = set(processes(system))
    inodes = {
        match[1]
        for pid in ours
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if (match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    assert len(listening) >= 5
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}
    six = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    assert [row[1] for row in six if row[3] == "0A" and row[9] in inodes] == []


def test_the_keys_are_readable_by_their_owner_alone(system: System) -> None:
    assert (system.folder / "client.env").stat().st_mode & 0o777 == 0o600
    secret = system.environment["AWS_SECRET_ACCESS_KEY"]
    for log in (system.folder / "logs").iterdir():
        assert secret not in log.read_text(errors="replace")
