"""The course of an import: progress, cancellation, disk and memory."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data.csv import csv_file, csv_import
from shared.data.csv.csv_import import ImportLimits, import_csv
from tests.unit.shared.data.csv.importer import HEADER, INTERACTIONS, USERS, Importer, query

REAL_DATA = Path(os.environ.get("FORETASTE_TEST_DATA", Path(__file__).parents[6] / "shared" / "data"))


def many(rows: int, seed: int = 0) -> str:
    generator = random.Random(seed)
    return HEADER + "".join(
        f'"user-{generator.randrange(rows // 20)}","item-{generator.randrange(1000)}",{n},"view",{n % 7}.5\n'
        for n in range(rows)
    )


def test_progress_grows_and_ends_with_the_rows(importer: Importer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_import, "_SECONDS_BETWEEN_REPORTS", 0.01)
    assert len(importer.rows(many(200_000))) == 200_000
    assert len(importer.progress) > 3
    assert importer.progress == sorted(importer.progress)
    assert 0 < importer.progress[len(importer.progress) // 2] < 200_000
    assert importer.progress[-1] == 200_000


def test_what_progress_raises_ends_the_import_and_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def stop(rows: int) -> None:
        raise Stopped

    monkeypatch.setattr(csv_import, "_SECONDS_BETWEEN_REPORTS", 0.01)
    with pytest.raises(Stopped):
        import_csv([importer.file(many(200_000))], INTERACTIONS, importer.target, ImportLimits(256), stop)
    assert os.listdir(importer.target.parent) == []


def test_a_disk_that_is_full_is_a_failure_and_leaves_nothing(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "Check that there is space left" in importer.failure("USER_ID,NOTE\n1,a\n", schema=USERS)


@pytest.mark.parametrize("error", [duckdb.IOException, duckdb.OutOfMemoryException])
def test_what_duckdb_lacks_is_a_failure_that_says_what_to_do(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def lacking(*_: Any) -> None:
        raise error("Failed to write /secret/place")

    monkeypatch.setattr(csv_import, "_run_copy", lacking)
    message = importer.failure("USER_ID,NOTE\n1,a\n", schema=USERS)
    assert "disk" in message
    assert "/secret/place" not in message


def test_memory_is_bounded_and_rows_are_the_same_when_spilled(importer: Importer) -> None:
    """A million rows in 256 MiB: DuckDB alone would take three times as much. The peak is that of a process."""
    file = importer.file("")
    query(
        f"""COPY (SELECT printf('user-%09d', n * 7919 % 50000) AS USER_ID, 'item-' || n * 31 % 1000 AS ITEM_ID,
                         n * 104729 % 1000000 AS "TIMESTAMP", 'a-kind-of-event' AS EVENT_TYPE, n % 5 AS EVENT_VALUE
                  FROM range(1000000) AS t(n)) TO '{file}' (FORMAT csv, HEADER)"""
    )
    code = f"""
import json, re
from pathlib import Path
from shared.data import schemas
from shared.data.csv.csv_import import ImportLimits, import_csv
schema = schemas.parse_schema({json.dumps(json.dumps({"type": "record", "name": "Interactions", "fields": [
    {"name": "USER_ID", "type": "string"}, {"name": "ITEM_ID", "type": "string"}, {"name": "TIMESTAMP", "type": "long"},
    {"name": "EVENT_TYPE", "type": "string"}, {"name": "EVENT_VALUE", "type": "float"}]}))})
import_csv([Path({str(file)!r})], schema, Path({str(importer.target)!r}), ImportLimits(256), lambda rows: None)
# Not ru_maxrss, which remembers the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 256
    before = 'lag(USER_ID) OVER () AS user_before, lag("TIMESTAMP") OVER () AS time_before'
    [found] = query(
        f"""SELECT count(*), sum("TIMESTAMP"),
                   count_if(user_before IS NOT NULL AND (USER_ID, "TIMESTAMP") < (user_before, time_before))
            FROM (SELECT *, {before} FROM read_parquet('{importer.target}'))"""
    )
    assert found == (1_000_000, 499_999_500_000, 0)


def test_a_whole_data_set_is_imported(importer: Importer) -> None:
    real = REAL_DATA / "ml-100k" / "interactions.csv"
    file = real if real.is_file() else importer.file(many(100_000))
    with file.open(newline="") as opened:
        expected = [
            (row["USER_ID"], row["ITEM_ID"], int(row["TIMESTAMP"]), row["EVENT_TYPE"], float(row["EVENT_VALUE"]))
            for row in csv.DictReader(opened)
        ]
    rows = importer.rows(file)
    assert len(rows) == 100_000
    assert rows == sorted(expected, key=lambda row: (row[0], row[2]))


@pytest.mark.parametrize("content", [many(200_000), many(200_000) + 'a,1,2,5" x,\n', many(200_000) + 'a,1,2,"\\"",\n'])
def test_a_file_that_is_looked_over_tells_that_it_goes_on_and_can_be_ended(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(csv_file, "_BLOCK_BYTES", 1 << 20)
    csv_file.prepare_csv_file(importer.file(content), importer.target.parent, lambda: told.append("on"))
    assert len(told) >= len(content) >> 20

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        csv_file.prepare_csv_file(importer.file(content), importer.target.parent, stop)
