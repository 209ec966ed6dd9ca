"""The embedded server, kept by the supervisor: real processes, real signals, nothing lost."""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from services.cli.errors import InUse
from services.cli.local import embedded_redis
from services.cli.local.data_dir import DataDir
from services.cli.local.supervisor import Supervisor
from tests.conftest import until


@contextmanager
def running(folder: Path, appendfsync: str = "everysec") -> Iterator[tuple[Supervisor, str]]:
    """A supervised server on the folder, and its URL."""
    data_dir = DataDir(folder)
    with ExitStack() as stack:
        lock = stack.enter_context(data_dir.lock())
        port = embedded_redis.find_free_port()
        server = embedded_redis.build_child(data_dir, port=port, appendfsync=appendfsync, max_memory_mb=64, lock=lock)
        stack.enter_context(embedded_redis.sync_in_background(data_dir.redis, say=pytest.fail))
        supervisor = stack.enter_context(
            Supervisor([], logs=data_dir.logs, say=lambda _sentence: None, foundation=server)
        )
        assert supervisor.wait_until_ready(20, stopping=threading.Event())
        yield supervisor, embedded_redis.build_url(port, data_dir.load_or_create_redis_password())


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def test_it_works(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and blanks'
    with running(folder) as (_, url), connect(url) as client:
        client.set("a", "1")
        settings = client.config_get("*")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "no"  # not "everysec": see embedded_redis.synced
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["maxmemory"] == str(64 * 1024 * 1024)
        assert settings["bind"] == "127.0.0.1"
        assert settings["save"] == ""
    with running(folder) as (_, url), connect(url) as client:
        assert client.get("a") == "1"


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    with running(tmp_path) as (_, url):
        bare = re.sub(r":[^@/]+@", "", url)
        with connect(bare) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        assert not embedded_redis.is_answering(bare)
        assert embedded_redis.is_answering(url)
    assert stat.S_IMODE((tmp_path / "redis" / "redis.conf").stat().st_mode) == 0o600


def test_a_killed_server_is_back_on_its_port_with_all_it_had_acknowledged(tmp_path: Path) -> None:
    with running(tmp_path) as (supervisor, url):
        for round_ in range(3):
            with connect(url) as client:
                for number in range(200):
                    client.set(f"{round_}:{number}", number)
            killed = supervisor.pids["redis"]
            os.kill(killed, signal.SIGKILL)
            until(lambda killed=killed: supervisor.pids.get("redis", killed) != killed)
            until(lambda: embedded_redis.is_answering(url))
        with connect(url) as client:
            assert client.dbsize() == 600


def test_whoever_wants_it_has_each_write_on_the_disk_before_its_answer(tmp_path: Path) -> None:
    with running(tmp_path, "always") as (_, url), connect(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_what_is_acknowledged_during_a_slow_sync_outlives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_sync, on_disk = threading.Event(), threading.Event()

    def slow(_descriptor: int) -> None:
        in_sync.set()
        assert on_disk.wait(60)

    monkeypatch.setattr(os, "fdatasync", slow)
    with running(tmp_path) as (supervisor, url):
        assert in_sync.wait(20)
        with connect(url) as client:
            for number in range(200):
                client.set(f"{number}", number)
        os.kill(killed := supervisor.pids["redis"], signal.SIGKILL)
        until(lambda: supervisor.pids.get("redis", killed) != killed)
        until(lambda: embedded_redis.is_answering(url))
        with connect(url) as client:
            assert client.dbsize() == 200
        on_disk.set()


def test_what_was_written_is_synced_a_second_later_whatever_file_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[str, int]] = set()

    def note(descriptor: int) -> None:
        synced.add((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, os.fstat(descriptor).st_size))

    def all_synced() -> bool:
        return {(file.name, file.stat().st_size) for file in tmp_path.glob("redis/appendonlydir/*.aof")} <= synced

    monkeypatch.setattr(os, "fdatasync", note)
    with running(tmp_path) as (_, url), connect(url) as client:
        client.set("a", "1")
        until(all_synced, 10)
        before = {name for name, _ in synced}
        client.bgrewriteaof()
        until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        client.set("b", "1")
        until(all_synced, 10)
        assert {name for name, _ in synced} - before


def test_a_disk_that_can_not_be_written_to_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_descriptor: int) -> None:
        tried.append(1)
        raise OSError(5, "Input/output error")

    tried: list[int] = []
    said: list[str] = []
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "a.incr.aof").touch()
    monkeypatch.setattr(embedded_redis, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fdatasync", fails)
    with embedded_redis.sync_in_background(tmp_path, say=said.append):
        until(lambda: len(tried) > 2, 10)
    assert [sentence.partition("(")[2].partition(")")[0] for sentence in said] == ["[Errno 5] Input/output error"]


def test_a_damaged_tail_of_its_file_costs_no_more_than_the_tail(tmp_path: Path) -> None:
    with running(tmp_path) as (_, url), connect(url) as client:
        client.set("before", "1")
    (log,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$5\r\nafter")
    with running(tmp_path) as (_, url), connect(url) as client:
        assert client.get("before") == "1"


def test_a_server_that_outlives_its_supervisor_keeps_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.cli.local.data_dir.LOCK_SECONDS", 0.2)
    data_dir = DataDir(tmp_path)
    with ExitStack() as stack:
        with data_dir.lock() as lock:
            inherited = os.dup(lock)  # as the server inherits it
            stack.callback(os.close, inherited)
        with pytest.raises(InUse), data_dir.lock():
            pytest.fail("two servers on one file")


def test_its_port_is_none_that_an_outgoing_connection_may_get(tmp_path: Path) -> None:
    first, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert embedded_redis.find_free_port() < first
