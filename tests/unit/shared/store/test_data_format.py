"""What is kept bears the number of its format: newer is refused, older is migrated, by one process, step by step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from services.cli.local.processes import BY_NAME
from shared.store import data_format
from shared.store.data_format import (
    MIGRATIONS,
    Migration,
    NewerFormat,
    NewerRedis,
    UnreadableStamp,
    migrate_folder,
    migrate_redis,
)
from shared.store.redis import RedisStore
from tests.conftest import ROOT


@pytest.fixture
def server(redis_server: str) -> Any:
    server = redis.Redis.from_url(redis_server, decode_responses=True)
    server.flushall()
    yield server
    server.flushall()


def rewriting(to: int) -> Migration:
    """Appends its number to a file, and to a list: what was done, in which order."""

    def in_folder(folder: Path) -> None:
        with (folder / "done").open("a") as done:
            done.write(f"{to} ")

    return Migration(
        to=to, change="of a test", in_folder=in_folder, in_redis=lambda server: server.rpush("done", to) and None
    )


LATER = (*MIGRATIONS, rewriting(3), rewriting(4))


def test_the_first_migrations_leave_all_as_it_was_and_stamps_it(tmp_path: Path, server: Any, redis_server: str) -> None:
    (tmp_path / "kept").write_text("as it was")
    server.set("foretaste:claim:c", "arn")
    for _ in range(2):
        migrate_folder(tmp_path)
        migrate_redis(redis_server)
    assert json.loads((tmp_path / "format.json").read_text())["format"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["format.json", "kept"]
    assert server.hget("foretaste:format", "format") == "2"
    assert (sorted(server.keys()), server.get("foretaste:claim:c")) == (
        ["foretaste:claim:c", "foretaste:format"],
        "arn",
    )


@pytest.mark.parametrize(("stamped", "done"), [(0, ["3", "4"]), (2, ["3", "4"]), (3, ["4"]), (4, [])])
def test_what_is_older_is_migrated_step_by_step(
    tmp_path: Path, server: Any, redis_server: str, stamped: int, done: list[str]
) -> None:
    if stamped:
        server.hset("foretaste:format", "format", stamped)
        (tmp_path / "format.json").write_text(json.dumps({"format": stamped, "more": "of another release"}))
    (tmp_path / "done").touch()
    migrate_folder(tmp_path, LATER)
    migrate_redis(redis_server, LATER)
    assert server.lrange("done", 0, -1) == done
    assert (tmp_path / "done").read_text().split() == done
    assert (
        server.hget("foretaste:format", "format"),
        json.loads((tmp_path / "format.json").read_text())["format"],
    ) == (
        "4",
        4,
    )


def test_one_process_migrates_and_the_others_wait(server: Any, redis_server: str) -> None:
    threads = [threading.Thread(target=migrate_redis, args=(redis_server, LATER)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.lrange("done", 0, -1) == ["3", "4"]
    assert not server.exists("foretaste:migrating")


def test_a_migration_that_was_cut_off_goes_on_where_it_was(server: Any, redis_server: str) -> None:
    def fails(_: Any) -> None:
        raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        migrate_redis(redis_server, (*LATER[:3], Migration(to=4, change="breaks", in_redis=fails)))
    assert server.hget("foretaste:format", "format") == "3"
    server.delete("foretaste:migrating")  # its owner is gone: it runs out
    migrate_redis(redis_server, LATER)
    assert server.lrange("done", 0, -1) == ["3", "4"]


def test_what_is_newer_is_refused_by_name(tmp_path: Path, server: Any, redis_server: str) -> None:
    store = RedisStore(redis_server)
    store.ping()
    server.hset("foretaste:format", mapping={"format": 7, "release": "9.9"})
    store._redis.connection_pool.disconnect()  # another Redis stands there from now on
    with pytest.raises(
        NewerRedis, match=r"The Redis at 127.0.0.1:\d+ holds data of format 7, stamped by foretaste 9.9"
    ):
        store.get("arn")
    (tmp_path / "format.json").write_text('{"format": 7, "release": "9.9"}')
    with pytest.raises(NewerFormat, match=rf"{tmp_path} holds data of format 7.*reads format 2 at most.*back-up"):
        migrate_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "new"}', "{}"])
def test_a_stamp_that_is_none_is_refused_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "format.json").write_text(text)
    with pytest.raises(UnreadableStamp, match=r"format.json can't be read"):
        migrate_folder(tmp_path)


def test_a_folder_that_takes_no_stamp_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    migrate_folder(tmp_path / "file" / "below", report=told.append)
    assert "could not be stamped" in told[0]


@pytest.mark.parametrize("process", ["status", "events"])
def test_no_process_begins_on_what_is_newer(tmp_path: Path, server: Any, redis_server: str, process: str) -> None:
    server.hset("foretaste:format", mapping={"format": 7, "release": "9.9"})
    environment = {
        **os.environ,
        "FORETASTE_REDIS_URL": redis_server,
        "FORETASTE_DATA_DIR": str(tmp_path),
        "FORETASTE_BIND": "127.0.0.1:0",
        "FORETASTE_UNSIGNED": "true",
    }
    ended = subprocess.run(
        [sys.executable, "-m", *BY_NAME[process].command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert "holds data of format 7, stamped by foretaste 9.9" in ended.stderr
    assert server.keys("foretaste:beat:*") == []
    assert data_format.MIGRATIONS[-1].to == 2
