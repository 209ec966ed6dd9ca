"""Measure an export of interactions beside plain DuckDB: ``python -m benchmarks.importing.export``.

The peer writes the same Parquet rows as one CSV file: no removal of repeats, no order, no files of bounded size. Each
run is a process of its own, so that its peak of memory counts alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from benchmarks.importing.__main__ import SCHEMA
from shared.data import schemas
from shared.data.csv_export import ExportedRows, write_csv_files
from shared.data.duckdb_session import DuckDBSession

VARIANTS = {
    "bulk": "one import, as it is",
    "all": "an import and live events: repeats removed, sorted",
    "duckdb": "plain DuckDB, same memory limit",
}
FILE_BYTES = 500 << 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.importing.export", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="where files are made (default: the system's)")
    parser.add_argument("--measure", nargs=2, metavar=("VARIANT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        variant, folder = options.measure
        print(json.dumps(measure(variant, Path(folder), options.memory_mb)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        write_parquet(folder, options.rows)
        print(f"{options.rows:,} rows, limit {options.memory_mb} MiB")
        for variant, about in VARIANTS.items():
            command = [sys.executable, "-m", "benchmarks.importing.export", "--memory-mb", str(options.memory_mb)]
            run = subprocess.run([*command, "--measure", variant, made], capture_output=True, check=True, text=True)
            found = json.loads(run.stdout)
            print(
                f"{about:52} {found['seconds']:7.1f} s {options.rows / found['seconds']:12,.0f} rows/s "
                f"{found['peak_mb']:6,.0f} MiB peak  {found['files']} files"
            )


def write_parquet(folder: Path, rows: int) -> None:
    """``bulk.parquet`` as an import writes it, and ``live.parquet`` with a tenth of the rows, half of them repeats."""
    with duckdb.connect() as connection:
        connection.execute(
            f"""CREATE VIEW made AS
                SELECT 'user-' || lpad((i // 40)::VARCHAR, 7, '0') AS USER_ID,
                       'item-' || lpad((hash(i * 13 + 5) % 10000)::VARCHAR, 5, '0') AS ITEM_ID,
                       1500000000 + i * 3 AS TIMESTAMP, (['view', 'click'])[1 + (hash(i) % 2)::INT] AS EVENT_TYPE,
                       round((hash(i * 3) % 50) / 10.0, 1)::FLOAT AS EVENT_VALUE
                FROM range({rows + rows // 20}) numbers(i)"""
        )
        for name, chosen in (("bulk", f"LIMIT {rows}"), ("live", f"OFFSET {rows - rows // 20}")):
            connection.execute(f"COPY (FROM made {chosen}) TO '{folder / name}.parquet' (FORMAT parquet)")


def measure(variant: str, folder: Path, memory_mb: int) -> dict[str, float]:
    schema = schemas.parse_schema(json.dumps(SCHEMA))
    names = ("bulk", "live") if variant == "all" else ("bulk",)
    paths = [folder / f"{name}.parquet" for name in names]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        target = Path(scratch) / "files"
        began = time.monotonic()
        with DuckDBSession(memory_mb=memory_mb, scratch=Path(scratch), on_step=lambda: None) as database:
            if variant == "duckdb":
                database.execute(f"COPY (FROM read_parquet('{paths[0]}')) TO '{target}' (FORMAT csv, HEADER)")
                files = [target]
            else:
                rows = ExportedRows(files=paths, schema=schema, imported_alone=variant == "bulk")
                files, _ = write_csv_files(rows, target, database, file_bytes=FILE_BYTES)
        seconds = time.monotonic() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mb": peak_mb, "files": len(files)}


if __name__ == "__main__":
    main()
