"""Measure an import of interactions beside plain DuckDB: ``python -m benchmarks.importing``.

The peer reads the same file with the types given, sorts by user and time and writes Parquet, and checks nothing
else: no lengths, no empty ids, no milliseconds, no duplicates, no order of ties. Each run is a process of its own.
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

from shared.data import schemas
from shared.data.csv.csv_import import ImportLimits, import_csv

SCHEMA = {
    "type": "record",
    "name": "Interactions",
    "namespace": "com.amazonaws.personalize.schema",
    "fields": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ITEM_ID", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "EVENT_VALUE", "type": ["null", "float"]},
    ],
    "version": "1.0",
}
VARIANTS = {
    "foretaste": "foretaste's import",
    "duckdb-limited": "plain DuckDB, same memory limit",
    "duckdb": "plain DuckDB, its own limit",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.importing", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--memory-mb", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the one with least CPU time counts")
    parser.add_argument("--folder", type=Path, help="where files are made (default: the system's)")
    parser.add_argument("--only", choices=VARIANTS, action="append", help="leave the others out")
    parser.add_argument("--measure", nargs=2, metavar=("VARIANT", "CSV"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        variant, csv = options.measure
        print(json.dumps(measure(variant, Path(csv), options.memory_mb)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        csv = Path(folder) / "interactions.csv"
        write_interactions(csv, options.rows)
        print(f"{options.rows:,} rows, {csv.stat().st_size / 1e6:,.0f} MB, limit {options.memory_mb} MiB")
        report(csv, options.rows, options.memory_mb, options.repeat, options.only or list(VARIANTS))


def write_interactions(csv: Path, rows: int) -> None:
    """Quoted ids and event types: users with 40 events each in the mean, 10,000 items, some more asked for."""
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'user-' || lpad((hash(i * 7 + 1) % {max(rows // 40, 1)})::VARCHAR, 6, '0') AS USER_ID,
                       'item-' || lpad(sqrt(hash(i * 13 + 5) % 100000000)::BIGINT::VARCHAR, 5, '0') AS ITEM_ID,
                       1500000000 + hash(i * 17 + 3) % 100000000 AS TIMESTAMP,
                       (['view', 'click', 'purchase'])[1 + (hash(i) % 3)::INT] AS EVENT_TYPE,
                       round((hash(i * 3) % 50) / 10.0, 1) AS EVENT_VALUE
                FROM range({rows}) made(i))
                TO '{csv}' (FORMAT csv, HEADER, FORCE_QUOTE (USER_ID, ITEM_ID, EVENT_TYPE))"""
        )


def report(csv: Path, rows: int, memory_mb: int, repeat: int, variants: list[str]) -> None:
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeat):
        # Taken in turn, so that a busy minute of the machine does not fall on one of them alone.
        for variant in variants:
            command = [sys.executable, "-m", "benchmarks.importing", "--memory-mb", str(memory_mb)]
            done = subprocess.run(
                [*command, "--measure", variant, str(csv)], check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(done.stdout)
            if variant not in best or found["cpu"] < best[variant]["cpu"]:
                best[variant] = found
    print(f"{'':32} {'wall s':>8} {'CPU s':>8} {'rows/s':>12} {'rows/CPU-s':>12} {'peak MiB':>9} {'CPU ratio':>10}")
    base = best[variants[0]]["cpu"]
    for variant, found in best.items():
        print(
            f"{VARIANTS[variant]:32} {found['wall']:8.1f} {found['cpu']:8.1f} {rows / found['wall']:12,.0f} "
            f"{rows / found['cpu']:12,.0f} {found['peak_mib']:9,.0f} {base / found['cpu']:10.2f}"
        )


def measure(variant: str, csv: Path, memory_mb: int) -> dict[str, float]:
    target = csv.with_name(f"{variant}.parquet")
    wall, cpu = time.perf_counter(), time.process_time()
    if variant == "foretaste":
        schema = schemas.parse_schema(json.dumps(SCHEMA))
        import_csv([csv], schema, target, ImportLimits(memory_mb), lambda _: None)
    else:
        plain(csv, target, memory_mb if variant == "duckdb-limited" else None)
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def plain(csv: Path, target: Path, memory_mb: int | None) -> None:
    """DuckDB as its documentation shows it; the spilling goes beside the target."""
    types = {
        "USER_ID": "VARCHAR",
        "ITEM_ID": "VARCHAR",
        "TIMESTAMP": "BIGINT",
        "EVENT_TYPE": "VARCHAR",
        "EVENT_VALUE": "FLOAT",
    }
    with duckdb.connect(config={"temp_directory": str(csv.with_name("spilled"))}) as connection:
        if memory_mb is not None:
            connection.execute(f"SET memory_limit = '{memory_mb}MiB'")
        connection.execute(
            f"""COPY (SELECT * FROM read_csv('{csv}', columns = {types}) ORDER BY USER_ID, TIMESTAMP)
                TO '{target}' (FORMAT parquet)"""
        )


if __name__ == "__main__":
    main()
