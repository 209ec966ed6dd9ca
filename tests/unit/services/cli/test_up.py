"""``foretaste up`` as its user meets it: what it says, what it refuses, what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.cli.local.processes import PROCESSES
from services.cli.main import main
from tests.conftest import ROOT, start_system, stop_system, until

FORETASTE = str(Path(sys.executable).with_name("foretaste"))
MARK = "STARTED_BY_THE_TEST"


def left(mark: Path) -> list[int]:
    """Processes that carry the mark in their environment, as all do that a marked one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:  # it ended meanwhile
            continue
    return found


@dataclass(frozen=True)
class Refused:
    returncode: int
    stderr: str


Up = Callable[..., Refused]


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Up:
    """An `up` that is expected to be refused, in this process: what starts one is left out."""
    monkeypatch.setattr("services.cli.local.system.BIND_SECONDS", 0.2)

    def refused(*arguments: str, **environment: str) -> Refused:
        monkeypatch.setattr(sys, "argv", ["foretaste", "up", "--data-dir", str(tmp_path), "--port", "0", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return Refused(end.value.code, capsys.readouterr().err)

    return refused


def test_it_works(tmp_path: Path, up: Up) -> None:
    system = start_system(tmp_path, **{MARK: str(tmp_path)})
    url = system.environment["AWS_ENDPOINT_URL_PERSONALIZE"]
    assert system.output == [f"foretaste is ready at {url}; for clients: source {tmp_path}/client.env\n"]
    assert url.startswith("http://127.0.0.1:")
    assert stat.S_IMODE((tmp_path / "client.env").stat().st_mode) == 0o600

    refused = up()
    assert refused.returncode == 1
    assert f"foretaste runs on {tmp_path} already (process {system.process.pid})" in refused.stderr

    assert len(left(tmp_path)) > len(PROCESSES)
    began = time.monotonic()
    assert stop_system(system, seconds=10) == 0
    assert time.monotonic() - began < 10
    assert left(tmp_path) == []


def test_nothing_outlives_it_when_it_is_killed_and_everything_is_found_again(tmp_path: Path) -> None:
    system = start_system(tmp_path, **{MARK: str(tmp_path)})
    arn = system.personalize.create_dataset_group(name="kept")["datasetGroupArn"]
    system.process.kill()
    system.process.wait()
    until(lambda: not left(tmp_path), 10)

    again = start_system(tmp_path)
    assert again.environment["AWS_ACCESS_KEY_ID"] == system.environment["AWS_ACCESS_KEY_ID"]
    assert again.environment["AWS_SECRET_ACCESS_KEY"] == system.environment["AWS_SECRET_ACCESS_KEY"]
    assert again.personalize.describe_dataset_group(datasetGroupArn=arn)["datasetGroup"]["name"] == "kept"
    assert stop_system(again) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_sigterm_is_heard_while_it_starts(tmp_path: Path, seconds: float) -> None:
    process = subprocess.Popen(
        [FORETASTE, "up", "--data-dir", str(tmp_path), "--port", "0"],
        env={**os.environ, MARK: str(tmp_path)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    began = until(lambda: (tmp_path / "lock").exists() and time.monotonic())
    until(lambda: time.monotonic() - began >= seconds)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    assert left(tmp_path) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_an_open_door_without_keys_of_ones_own_is_refused(up: Up, host: str) -> None:
    refused = up("--host", host)
    assert refused.returncode == 1
    assert f"refusing to listen on {host} without keys of your own" in refused.stderr
    assert "FORETASTE_ACCESS_KEY_ID" in refused.stderr


def test_an_open_door_without_signatures_is_refused(up: Up) -> None:
    refused = up("--host", "0.0.0.0", FORETASTE_UNSIGNED="true")
    assert refused.returncode == 1
    assert "refusing to listen on 0.0.0.0 while FORETASTE_UNSIGNED=true" in refused.stderr


def test_a_port_that_is_taken_is_refused(up: Up) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = up("--port", port)
    assert refused.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use; choose another --port" in refused.stderr


def test_a_redis_that_does_not_answer_is_refused(up: Up) -> None:
    refused = up(FORETASTE_REDIS_URL="redis://:secret@127.0.0.1:1/0")
    assert refused.returncode == 1
    assert "no Redis answers at FORETASTE_REDIS_URL (127.0.0.1:1)" in refused.stderr
    assert "secret" not in refused.stderr


@pytest.mark.parametrize("mount", ["films", "=/tmp", "films=", "films=/no/such/folder"])
def test_a_bucket_must_be_a_name_and_a_folder(up: Up, mount: str) -> None:
    refused = up("--bucket", mount)
    assert refused.returncode == 2
    assert "Invalid value for '--bucket'" in refused.stderr


def test_a_bad_setting_is_named(up: Up) -> None:
    refused = up(FORETASTE_THREADS="many")
    assert refused.returncode == 1
    assert "FORETASTE_THREADS" in refused.stderr


@pytest.mark.parametrize("folder", [".", "artifacts"])
def test_a_folder_of_a_newer_release_is_left_alone(up: Up, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "format.json").write_text('{"format": 7, "release": "9.9"}')
    refused = up()
    assert refused.returncode != 0
    assert "holds data of format 7, stamped by foretaste 9.9" in refused.stderr
    assert not (tmp_path / "redis").exists()
