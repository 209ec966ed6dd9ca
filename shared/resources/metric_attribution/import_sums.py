"""The sums of an import job for a metric attribution, in the job's artifact: a line of JSON for each, by bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import orjson

from shared.resources.metric_attribution.metrics import add_sum
from shared.store.attributions import TOTAL, Sum, SumKey

#: The file of the artifact. An import that no metric attribution reads has none.
SUMS = "attribution.jsonl"
_DAY_SECONDS = 24 * 3600


def write_sums(path: Path, sums: Iterable[tuple[SumKey, Sum]]) -> None:
    """Write sums, which must come in the order of their buckets."""
    with path.open("wb") as file:
        for key, sum_ in sums:
            file.write(orjson.dumps([*key, *sum_]) + b"\n")


def read_day(path: Path, first: int) -> tuple[dict[SumKey, Sum], int | None]:
    """Return the sums of the first day from ``first`` on (days since 1970), with totals, and the day after it.

    The day is None at the end of the file: all sums have been read.
    """
    sums: dict[SumKey, Sum] = {}
    with path.open("rb") as file:
        later = ((key, sum_) for key, sum_ in _iter_sums(file) if key.bucket // _DAY_SECONDS >= first)
        found = next(later, None)
        if found is None:
            return {}, None
        day = found[0].bucket // _DAY_SECONDS
        for key, sum_ in chain([found], later):
            if key.bucket // _DAY_SECONDS != day:
                return sums, day + 1
            add_sum(sums, key, sum_)
            add_sum(sums, key._replace(bucket=TOTAL), sum_)
    return sums, None


def _iter_sums(lines: Iterable[bytes]) -> Iterator[tuple[SumKey, Sum]]:
    for line in lines:
        *key, value, count = orjson.loads(line)
        yield SumKey(*key), Sum(value, count)
