"""Damaged append-only files, as a real server leaves them: which, what to do, what would be lost."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.cli.commands.doctor import examine_machine
from services.cli.errors import CannotStart
from services.cli.local import embedded_redis, redis_files
from services.cli.local.data_dir import DataDir
from services.cli.local.system import SystemOptions, run_local_system
from tests.unit.services.cli.test_embedded_redis import connect, running


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose server has rewritten its files once, and written since."""
    folder = tmp_path_factory.mktemp("written")
    with running(folder) as (_, url), connect(url) as client:
        for number in range(100):
            client.set(f"before {number}", "x" * 20)
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        for number in range(100):
            if number in (10, 20):
                time.sleep(1.1)  # the server notes a time once a second, by a clock that it seldom looks at
            client.set(f"after {number}", "x" * 20)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def file(folder: Path, pattern: str) -> Path:
    (found,) = (folder / "redis" / redis_files.FOLDER).glob(pattern)
    return found


def overwrite(path: Path, place: int, what: bytes) -> None:
    with path.open("r+b") as writing:
        writing.seek(place)
        writing.write(what)


def zero_tail(folder: Path) -> None:
    with file(folder, "*.incr.aof").open("ab") as log:
        log.write(b"\0" * 4096)


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    "middle": (
        lambda folder: overwrite(file(folder, "*.incr.aof"), 3000, b"\0" * 100),
        "*.incr.aof",
        r"is damaged at byte [\d,]+ of [\d,]+",
        r"[\d,]+ bytes, written from 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC on.*cp -a .* truncate -s \d+",
    ),
    "zeros": (zero_tail, "*.incr.aof", "is damaged at byte", r"4,096 bytes, written from 20.* truncate -s \d+"),
    "base": (
        lambda folder: overwrite(file(folder, "*.base.rdb"), 500, b"\xff" * 50),
        "*.base.rdb",
        "is damaged",
        "Restore a backup.* everything is lost that stands in it",
    ),
    "no log": (
        lambda folder: file(folder, "*.incr.aof").unlink(),
        "*.incr.aof",
        "is missing",
        "what was written there",
    ),
    "no base": (lambda folder: file(folder, "*.base.rdb").unlink(), "*.base.rdb", "is missing", "everything but"),
    "manifest": (
        lambda folder: file(folder, "*.manifest").write_text("garbage") and None,
        "*.manifest",
        "names no files",
        "everything would be lost",
    ),
    "no manifest": (
        lambda folder: file(folder, "*.manifest").unlink(),
        "*.manifest",
        "is missing, and .* Redis would begin with nothing",
        "everything would be lost",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_system_on_damaged_files_does_not_start_and_says_which_and_what_to_do(folder: Path, kind: str) -> None:
    do_damage, pattern, what, advice = DAMAGES[kind]
    # Which it is, before it may be gone.
    name = file(folder, pattern).name
    do_damage(folder)
    before = {path.name: path.read_bytes() for path in (folder / "redis" / redis_files.FOLDER).iterdir()}
    began = time.monotonic()
    wishes = SystemOptions(data_dir=folder, buckets={})
    with (
        pytest.raises(CannotStart) as refused,
        run_local_system(wishes, say=lambda _sentence: None, stopping=threading.Event()),
    ):
        pytest.fail("it has started")
    assert time.monotonic() - began < 10, "a promise to who waits for it"
    assert name in str(refused.value)
    assert re.search(what, str(refused.value)), refused.value
    assert re.search(advice, str(refused.value)), refused.value
    assert {path.name: path.read_bytes() for path in (folder / "redis" / redis_files.FOLDER).iterdir()} == before
    (finding,) = [finding for finding in examine_machine(DataDir(folder), 0) if finding.what == "Redis files"]
    assert finding.verdict == "bad"
    assert name in finding.found
    assert finding.advice in str(refused.value)


def test_what_it_says_to_do_helps_and_costs_what_it_says(folder: Path) -> None:
    DAMAGES["middle"][0](folder)
    found = redis_files.find_damage(folder / "redis", embedded_redis.find_binary())
    assert found is not None
    for command in re.findall(r"cp -a \S+ [^\s)]+|truncate .*", found.advice):
        subprocess.run(["bash", "-c", command], check=True)
    assert (folder / "redis.damaged" / redis_files.FOLDER).is_dir()
    assert redis_files.find_damage(folder / "redis", embedded_redis.find_binary()) is None
    with running(folder) as (_, url), connect(url) as client:
        assert client.get("before 99")
        assert client.get("after 1")
        assert not client.get("after 99")


@pytest.mark.parametrize("left", [1, 7, 20, 60])
def test_a_file_that_a_crash_has_cut_short_is_none_of_that(folder: Path, left: int) -> None:
    log = file(folder, "*.incr.aof")
    log.write_bytes(log.read_bytes()[:-left])
    assert redis_files.find_damage(folder / "redis", embedded_redis.find_binary()) is None
    with running(folder) as (_, url), connect(url) as client:
        assert client.get("before 99")


def test_files_that_are_whole_or_not_there_yet_are_well(folder: Path, tmp_path: Path) -> None:
    binary = embedded_redis.find_binary()
    assert redis_files.find_damage(folder / "redis", binary) is None
    assert redis_files.find_damage(tmp_path / "none", binary) is None
    (finding,) = [finding for finding in examine_machine(DataDir(folder), 0) if finding.what == "Redis files"]
    assert finding.verdict == "ok"


@pytest.mark.parametrize(
    ("tail", "cut"),
    [
        (b"", True),
        (b"*", True),
        (b"*3\r", True),
        (b"*2\r\n$3\r\nSE", True),
        (b"*2\r\n$3\r\nSET\r\n", True),
        (b"*1\r\n$4\r\nPING\r\n*1\r\n$", True),
        (b"#TS:17", True),
        (b"\0\0\0", False),
        (b"*2\r\n+OK\r\n", False),
        (b"*1\r\n$4\r\nPINGxx*1\r\n", False),
        (b"*1\r\n$4\r\nPING\r\nrubbish", False),
    ],
)
def test_a_command_without_its_end_is_told_from_rubbish(tail: bytes, *, cut: bool) -> None:
    assert redis_files.is_cut_short(io.BytesIO(tail)) is cut


def test_a_server_that_cannot_start_for_another_reason_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        # As where a port is taken, or the folder is another user's.
        monkeypatch.setattr(embedded_redis, "_quote_path", lambda _path: '"/nowhere at all"')
        with pytest.raises(CannotStart, match=r"redis can't start\. The last words .*(nowhere at all|No such file)"):
            stack.enter_context(running(tmp_path))
