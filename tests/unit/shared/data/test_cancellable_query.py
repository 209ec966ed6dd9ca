"""Work in one call: its caller is told while it does something, and not while it is blocked."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import duckdb
import pytest

from shared.data.cancellable_query import run_cancellable_query, run_with_steps


def test_who_computes_is_told_of() -> None:
    steps: list[float] = []

    def compute() -> int:
        number, until = 0, time.monotonic() + 0.3
        while time.monotonic() < until or not steps:
            number += sum(range(10_000))
        return number

    assert run_with_steps(compute, lambda: steps.append(time.monotonic()), 0.05) > 0
    assert steps


def test_a_query_that_computes_is_told_of() -> None:
    query = "SELECT sum(sin(a.range * b.range)) FROM range(1000000) a, range(1000000) b"
    with duckdb.connect(config={"threads": 1}) as connection:
        work = partial(connection.execute, query)
        with pytest.raises(InterruptedError, match="told"):
            run_cancellable_query(connection, work, told, 0.05)


def told() -> None:
    raise InterruptedError("told")


def test_a_query_that_is_blocked_is_not_told_of(tmp_path: Path) -> None:
    """In a process of its own: what threads of other tests still do would be taken for the query's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        steps = pool.submit(steps_of_a_blocked_query, tmp_path / "pipe.csv").result(60)
    # The first look may still see how the query was prepared.
    assert 1 not in steps[1 : steps.index(-1)]


def steps_of_a_blocked_query(pipe: Path) -> list[int]:
    """1 for each time that it was told of; -1 when it was no longer blocked."""
    steps = list[int]()
    os.mkfifo(pipe)

    def read() -> list[tuple[int]]:
        read_csv = f"read_csv('{pipe}', columns = {{'a': 'INTEGER'}}, auto_detect = false, header = false)"
        rows: list[tuple[int]] = connection.execute(f"SELECT sum(a) FROM {read_csv}").fetchall()
        return rows

    def write_late() -> None:
        time.sleep(1.0)
        steps.append(-1)
        # Nobody is written to who has not opened it.
        with pipe.open("w") as writing:
            writing.write("1\n2\n")

    writer = threading.Thread(target=write_late)
    with duckdb.connect(config={"threads": 2}) as connection:
        writer.start()
        assert run_cancellable_query(connection, read, lambda: steps.append(1), 0.2) == [(3,)]
    writer.join()
    return steps
