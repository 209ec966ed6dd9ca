"""Batch jobs over JSON Lines: the input is split and answered in shards, and no fault loses or doubles a line."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.exceptions

from shared.jobs.entrypoint import WorkStopped
from shared.store.memory import MemoryStore
from workers.inference import shard_worker
from workers.inference.json_lines import MOST_LINE_BYTES, Answer, Line, LineError, format_result, iter_lines
from workers.inference.shard_worker import ShardWorker
from workers.inference.shards import InputSplitter, InputUnusable, Plan, ShardFolder


class Doubler:
    """Answers {"n": 2} with {"doubled": 4}, a block of ``block_lines`` at a time."""

    def __init__(self, block_lines: int = 3) -> None:
        self.block_lines = block_lines
        self.seen: list[tuple[str, int]] = []

    def answer_lines(self, lines: Sequence[Line]) -> list[Answer]:
        assert len(lines) <= self.block_lines
        self.seen += [(line.file, line.number) for line in lines]
        return [self._answer(line.input) for line in lines]

    def _answer(self, query: dict[str, Any]) -> Answer:
        return {"doubled": query["n"] * 2} if "n" in query else LineError("n is required.")


def split(folder: Path, texts: dict[str, bytes], shard_lines: int = 4, **more: Any) -> tuple[ShardFolder, Plan]:
    (folder / "given").mkdir(parents=True, exist_ok=True)
    shards = ShardFolder(folder)
    shards.create_folders()
    splitter = InputSplitter(shards, shard_lines, lambda _: None, **more)
    for name, text in texts.items():
        (folder / "given" / name).write_bytes(text)
        splitter.add_file(folder / "given" / name)
    shards.write_plan(splitter.build_plan())
    plan = shards.read_plan()
    assert plan == splitter.build_plan()
    assert plan is not None
    return shards, plan


def worker(
    shards: ShardFolder,
    plan: Plan,
    answerer: Any,
    store: Any = None,
    should_stop: Callable[[], bool] = lambda: False,
    lock_seconds: float = 15.0,
) -> ShardWorker:
    store = store or MemoryStore()
    return ShardWorker(
        shards, plan, answerer, store, lock_name="job", lock_seconds=lock_seconds, should_stop=should_stop
    )


def results(shards: ShardFolder, plan: Plan, file: int = 0) -> tuple[list[Any], int]:
    merged, failed = shards.merge_parts(plan.list_file_shards(file), lambda: None)
    return [orjson.loads(line) for line in merged.read_bytes().splitlines()], failed


def numbers(count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in range(count))


def test_each_line_has_one_result_in_the_order_of_the_input(tmp_path: Path) -> None:
    shards, plan = split(tmp_path, {"a.json": numbers(10), "b.json": numbers(3)})
    assert [(shard.file, shard.first_line, shard.records) for shard in plan.shards] == [
        (0, 1, 4),
        (0, 5, 4),
        (0, 9, 2),
        (1, 1, 3),
    ]
    doubler = Doubler()
    worker(shards, plan, doubler).finish_all_shards(lambda _: None)
    expected = [{"input": {"n": n}, "output": {"doubled": 2 * n}, "error": None} for n in range(10)]
    assert results(shards, plan) == (expected, 0)
    assert results(shards, plan, 1) == (expected[:3], 0)
    assert doubler.seen == [*(("a.json", n) for n in range(1, 11)), *(("b.json", n) for n in range(1, 4))]


def test_what_is_no_query_gets_a_result_with_an_error(tmp_path: Path) -> None:
    deep = b'{"n":1,"x":' + b"[" * 400 + b"]" * 400 + b"}"
    lines = [b'\xef\xbb\xbf{"n":1}', b"", b"  \r", b'{"n":2}\r', b"plain", b'{"n":"\xff"}', b"[1]", b"{}", deep, b"\0"]
    shards, plan = split(tmp_path, {"a.json": b"\n".join(lines)}, shard_lines=2)
    assert plan.count_records() == 8
    worker(shards, plan, Doubler()).finish_all_shards(lambda _: None)
    found, failed = results(shards, plan)
    assert [(each["input"], each["error"] and each["error"].split(";")[0].split(":")[0]) for each in found] == [
        ({"n": 1}, None),
        ({"n": 2}, None),
        ("plain", "The line is no JSON in UTF-8"),
        ('{"n":"�"}', "The line is no JSON in UTF-8"),
        ([1], "The line is no JSON object"),
        ({}, "n is required."),
        (None, "The line nests lists or objects too deeply."),
        ("\0", "The line is no JSON in UTF-8"),
    ]
    assert [each["output"] for each in found] == [{"doubled": 2}, {"doubled": 4}, *([None] * 6)]
    assert failed == 6


def test_a_long_line_costs_no_memory_and_only_itself(tmp_path: Path) -> None:
    long = b'{"n":1,"x":"' + b"y" * (10 << 20) + b'"}'
    just = b'{"n":1,"x":"' + b"y" * (MOST_LINE_BYTES - 14) + b'"}'
    assert len(just) == MOST_LINE_BYTES
    shards, plan = split(tmp_path, {"a.json": b"\n".join([b'{"n":1}', long, just, long])}, shard_lines=100)
    worker(shards, plan, Doubler(2)).finish_all_shards(lambda _: None)
    found, failed = results(shards, plan)
    assert [each["output"] for each in found] == [{"doubled": 2}, None, {"doubled": 2}, None]
    assert failed == 2
    assert found[1]["error"] == f"The line has more than {MOST_LINE_BYTES} bytes; a line holds one query."
    assert found[1]["input"] == f"{long[:1000].decode()}..."


def test_shards_hold_whole_lines_however_they_lie(tmp_path: Path) -> None:
    text = b"\n".join([b'{"n":%d}' % n if n % 7 else b"" for n in range(200)])
    for shard_lines in (1, 3, 50, 1000):
        shards, plan = split(tmp_path / str(shard_lines), {"a.json": text}, shard_lines)
        read = []
        for shard in plan.shards:
            with shards.get_input(0).open("rb") as source:
                source.seek(shard.begin)
                mine = list(iter_lines(source, shard.end, "a.json", shard.first_line))
            assert len(mine) == shard.records <= shard_lines
            read += [(line.number, line.input["n"]) for line in mine]
        assert read == [(n + 1, n) for n in range(200) if n % 7]


@pytest.mark.parametrize(
    ("start", "format_"),
    [(b"\x1f\x8b\x08", "compressed by gzip"), (b"PAR1", "a Parquet file"), ("[]".encode("utf-16"), "text in UTF-16")],
)
def test_a_file_that_is_no_text_is_named_with_its_line(tmp_path: Path, start: bytes, format_: str) -> None:
    with pytest.raises(InputUnusable, match=f"users.json, line 1, is {format_}. Give a text in UTF-8"):
        split(tmp_path, {"users.json": start + b"\n"})


def test_too_many_lines_are_named_with_file_and_line(tmp_path: Path) -> None:
    split(tmp_path / "all", {"a.json": numbers(5), "b.json": numbers(5)}, most_records=10)
    with pytest.raises(InputUnusable, match=r"b\.json goes beyond the 9 lines that a batch job takes, after line 5"):
        split(tmp_path / "more", {"a.json": numbers(5), "b.json": numbers(5)}, most_records=9)


def test_an_output_may_be_given_as_json_text() -> None:
    line = Line(file="a", number=1, input={"n": 1})
    text, failed = format_result(line, orjson.Fragment(b'["1","2"]'))
    assert (text, failed) == (b'{"input":{"n":1},"output":["1","2"],"error":null}\n', False)


def test_workers_share_the_shards_and_answer_each_once(tmp_path: Path) -> None:
    shards, plan = split(tmp_path, {"a.json": numbers(100)}, shard_lines=3)
    store, doublers = MemoryStore(), [Doubler(1) for _ in range(4)]
    workers = [worker(shards, plan, doubler, store) for doubler in doublers]
    threads = [threading.Thread(target=each.finish_all_shards, args=(lambda _: None,)) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(number for doubler in doublers for _, number in doubler.seen) == list(range(1, 101))
    assert [each["input"]["n"] for each in results(shards, plan)[0]] == list(range(100))


def test_a_worker_that_stops_or_fails_leaves_whole_parts_and_the_next_goes_on(tmp_path: Path) -> None:
    shards, plan = split(tmp_path, {"a.json": numbers(20)})
    stops = iter([False] * 12 + [True])
    first = Doubler(1)
    with pytest.raises(WorkStopped):
        worker(shards, plan, first, should_stop=lambda: next(stops)).finish_all_shards(lambda _: None)
    done = sum(plan.shards[number].records for number in shards.list_parts())
    assert 0 < done < 20
    assert not list(tmp_path.glob("parts/.*"))
    second = Doubler(1)
    worker(shards, plan, second).finish_all_shards(lambda _: None)
    assert [number for _, number in second.seen] == list(range(done + 1, 21))
    assert [each["input"]["n"] for each in results(shards, plan)[0]] == list(range(20))


def test_the_shard_of_a_worker_that_has_died_is_taken_over_when_its_lock_expires(tmp_path: Path) -> None:
    shards, plan = split(tmp_path, {"a.json": numbers(8)})
    at = [100.0]
    store = MemoryStore(clock=lambda: at[0])
    assert store.acquire_lock("job:0", "the dead", 15)
    looks = []

    def look(answered: int) -> None:
        if not answered:  # it waits
            looks.append(sorted(shards.list_parts()))
            at[0] += 10

    worker(shards, plan, Doubler(), store).finish_all_shards(look)
    assert looks == [[1], [1]]
    assert len(results(shards, plan)[0]) == 8


def test_an_outage_of_redis_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_worker, "_WAIT_SECONDS", 0.0)
    shards, plan = split(tmp_path, {"a.json": numbers(8)})

    class Away(Doubler):
        failures = 3

        def answer_lines(self, lines: Sequence[Line]) -> list[Answer]:
            if self.failures:
                self.failures -= 1
                raise redis.exceptions.ConnectionError("away")
            return super().answer_lines(lines)

    worker(shards, plan, Away()).finish_all_shards(lambda _: None)
    assert len(results(shards, plan)[0]) == 8


def test_a_helper_finds_that_the_job_has_ended(tmp_path: Path) -> None:
    shards, plan = split(tmp_path, {"a.json": numbers(8)})
    for part in (*tmp_path.glob("parts/*"), tmp_path / "parts"):
        part.rmdir()
    with pytest.raises(FileNotFoundError):
        worker(shards, plan, Doubler()).work_on_free_shards()


@pytest.mark.nightly
def test_a_million_malformed_lines_take_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "given.json").write_bytes(b"".join(b"malformed %d\n" % n for n in range(1_000_000)))
    shards = ShardFolder(tmp_path)
    shards.create_folders()
    tracemalloc.start()
    try:
        splitter = InputSplitter(shards, 2000, lambda _: None)
        splitter.add_file(tmp_path / "given.json")
        plan = splitter.build_plan()
        worker(shards, plan, Doubler(512)).finish_all_shards(lambda _: None)
        merged, failed = shards.merge_parts(plan.shards, lambda: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failed == 1_000_000
    assert peak < 32 << 20
    with merged.open("rb") as reading:
        assert sum(1 for _ in reading) == 1_000_000
