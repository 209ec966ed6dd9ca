"""A query that its caller can end. Needs DuckDB alone."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

import duckdb

T = TypeVar("T")


def interruptibly(
    connection: duckdb.DuckDBPyConnection, work: Callable[[], T], on_step: Callable[[], None], seconds: float
) -> T:
    """``work()``, which queries ``connection``, in a thread of its own; what ``on_step`` raises ends it.

    ``on_step`` is called in the caller's thread, each time that another ``seconds`` have passed.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            while not concurrent.futures.wait([running], seconds).done:
                on_step()
        except BaseException:
            # The thread may not have begun its query, and an interrupt before that is forgotten.
            while not concurrent.futures.wait([running], 0.05).done:
                connection.interrupt()
            raise
        return running.result()
