"""Sum the rows of an import for the metric attribution of its dataset group, and write AWS's report of them.

The sums go into the artifact of the job; the status service adds them to those of live events once the job is ACTIVE.
"""

# ruff: noqa: S608 -- columns come from a checked schema, and names and files are quoted

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from shared.data.arrays.histories import DataRefused
from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.duckdb_session import DuckDBSession, cast_to_finite_sql, read_parquet_sql
from shared.jobs.entrypoint import WorkFailed
from shared.resources import ResourceReader
from shared.resources.dataset.requests import build_dataset_arn
from shared.resources.dataset_import_job import ROWS
from shared.resources.metric_attribution.import_sums import SUMS, write_sums
from shared.resources.metric_attribution.metrics import (
    FUTURE_SECONDS,
    OLDEST_SECONDS,
    UNDEFINED,
    Metric,
    build_attribution_claim,
    find_column,
    read_metrics,
)
from shared.serving.dataset_snapshot import Snapshot
from shared.serving.event_sources import EventSources
from shared.serving.recommendation_ids import DIGEST_PATTERN
from shared.serving.snapshots import SnapshotCache, SnapshotUnreadable
from shared.storage.artifacts import Artifacts
from shared.storage.bucket_locations import BucketError
from shared.storage.buckets import Buckets
from shared.store import Record, Store
from shared.store.attributions import BUCKET_SECONDS, Sum, SumKey

#: The header of AWS's report.
HEADER = ("METRIC_NAME", "EVENT_TYPE", "VALUE", "MATH_FUNCTION", "EVENT_ATTRIBUTION_SOURCE", "TIMESTAMP")
_ROWS_AT_ONCE = 2**14


def find_attribution(job: Record, dataset: Record, reader: ResourceReader) -> Record | None:
    """Return the metric attribution that counts the rows of an import; None where there is none that is older."""
    if dataset.body["datasetType"] != "INTERACTIONS":
        return None
    arn = reader.records.find_claim_holder(build_attribution_claim(dataset.body["datasetGroupArn"]))
    record = reader.records.get(arn) if arn else None
    return record if record is not None and record.created <= job.created else None


@dataclass(frozen=True)
class ImportSummer:
    """Sums the rows of one import job. ``on_step`` is called at every step; it may raise to end the work."""

    attribution: Record
    job: Record
    reader: ResourceReader
    store: Store
    artifacts: Artifacts
    on_step: Callable[[], None]

    def attribute_rows(self, folder: Path, scratch: Path, buckets: Buckets) -> None:
        """Write the sums of the job's rows into the folder of its artifact, publish the report, and queue the sums.

        Safe to repeat. ``scratch`` is for temporary files. Raises WorkFailed where the items can't be read, or the
        report can't be written.
        """
        report = self._write_sums(folder / ROWS, folder / SUMS, scratch)
        self._publish_report(report, buckets)
        # They are added once the job is ACTIVE, however often this step is repeated.
        self.store.queue_import(self.attribution.arn, self.job.arn)

    def _write_sums(self, rows: Path, target: Path, scratch: Path) -> Path:
        """Write the sums of a Parquet file to ``target``. Return the path of the report, a file in ``scratch``."""
        metrics = [metric for metric in read_metrics(self.attribution) if metric.since <= self.job.created]
        memory_mb = self.reader.settings.import_memory_mb
        try:
            with DuckDBSession(memory_mb=memory_mb, scratch=scratch, on_step=self.on_step) as database:
                self._create_tables(database, rows, metrics)
                write_sums(target, _iter_sums(database, metrics))
                return _write_report(scratch / "report.csv", database, metrics)
        except (DataRefused, SnapshotUnreadable) as error:
            raise WorkFailed(f"The rows can't be summed for {self.attribution.arn}: {error}") from error

    def _create_tables(self, database: DuckDBSession, rows: Path, metrics: Sequence[Metric]) -> None:
        """Create ``sums`` (metric, source, bucket, published, value, count)."""
        columns = database.list_columns([rows])
        database.execute(
            "CREATE TABLE sums (metric INTEGER, source VARCHAR, bucket BIGINT, published BOOLEAN, value DOUBLE, "
            "count BIGINT)"
        )
        if "EVENT_TYPE" not in columns:
            return
        self._create_endpoints(database)
        self._create_items(database, rows, metrics)
        published = f"TIMESTAMP BETWEEN {self.job.created - OLDEST_SECONDS!r} AND {self.job.created + FUTURE_SECONDS!r}"
        for number, metric in enumerate(metrics):
            value = _select_value_sql(metric, columns)
            database.execute(
                f"""INSERT INTO sums
                    SELECT {number}, {_select_source_sql(columns)} AS source,
                        TIMESTAMP // {BUCKET_SECONDS} * {BUCKET_SECONDS} AS bucket, {published} AS published,
                        fsum({_clamp_sql(value)}), count(*)
                    FROM {read_parquet_sql([rows])}
                    LEFT JOIN endpoints ON endpoints.digest = {_select_digest_sql(columns)}
                    {_JOIN_ITEMS if metric.expression.table == "ITEMS" else ""}
                    WHERE lower(EVENT_TYPE) = {quote_literal(metric.event_type.lower())} AND {value} IS NOT NULL
                    GROUP BY ALL"""
            )

    def _create_endpoints(self, database: DuckDBSession) -> None:
        """Create ``endpoints`` (digest, arn) with all campaigns and recommenders."""
        sources = EventSources(self.attribution.arn, self.reader, self.store)
        database.execute("CREATE TABLE endpoints (digest VARCHAR, arn VARCHAR)")
        for digest, arn in sources.read_endpoints().items():
            database.execute(f"INSERT INTO endpoints VALUES ({quote_literal(digest)}, {quote_literal(arn)})")

    def _create_items(self, database: DuckDBSession, rows: Path, metrics: Sequence[Metric]) -> None:
        """Create ``items`` with the ids and the summed columns of the import's items, as they are now."""
        wanted = sorted({metric.expression.column for metric in metrics if metric.expression.table == "ITEMS"})
        if not wanted:
            return
        lines = database.scratch / "items.jsonl"
        ids = f"SELECT DISTINCT ITEM_ID FROM {read_parquet_sql([rows])}"
        with lines.open("wb") as file:
            for batch in database.iter_batches(ids, _ROWS_AT_ONCE):
                file.writelines(orjson.dumps(line) + b"\n" for line in self._read_items(batch, wanted))
        key = quote_literal(_name_item_column("ITEM_ID"))
        types = ", ".join(f"{quote_literal(_name_item_column(column))}: 'DOUBLE'" for column in wanted)
        database.execute(
            f"CREATE TABLE items AS SELECT * FROM read_json({quote_literal(str(lines))}, "
            f"format = 'newline_delimited', columns = {{{key}: 'VARCHAR', {types}}})"
        )

    def _read_items(self, ids: Iterable[tuple[str]], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        items = self._items
        names = {column: find_column(items.schema.columns, column) for column in columns} if items else {}
        for (id_,) in ids:
            row = items.find_row(id_) if items else None
            if items is not None and row is not None:
                cells = {column: items.read_cell(row, name) for column, name in names.items() if name}
                yield {_name_item_column(column): cell for column, cell in {"ITEM_ID": id_, **cells}.items()}

    def _publish_report(self, report: Path, buckets: Buckets) -> None:
        """Store the report where the attribution says, if the job asks for it: under one name, whenever repeated."""
        destination = self.attribution.body["metricsOutputConfig"].get("s3DataDestination")
        if destination is None or not self.job.body.get("publishAttributionMetricsToS3"):
            return
        # Milliseconds: two jobs of one second have files of their own.
        name = f"AggregatedAttributionMetrics - BULK - {round(self.job.created * 1000)}.csv"
        try:
            buckets.write_file(f"{destination['path'].rstrip('/')}/{name}", report, self.on_step)
        except BucketError as error:
            raise WorkFailed(f"The report of {self.attribution.arn} can't be written: {error}") from error

    @cached_property
    def _items(self) -> Snapshot | None:
        dataset = build_dataset_arn(self.attribution.body["datasetGroupArn"], "ITEMS", self.reader)
        return SnapshotCache(self.reader, self.store, self.artifacts, self.on_step).open_rows(dataset)


def _select_source_sql(columns: Collection[str]) -> str:
    own = "nullif(EVENT_ATTRIBUTION_SOURCE, '')" if "EVENT_ATTRIBUTION_SOURCE" in columns else "NULL"
    return f"coalesce({own}, endpoints.arn, {quote_literal(UNDEFINED)})"


def _select_digest_sql(columns: Collection[str]) -> str:
    if "RECOMMENDATION_ID" not in columns:
        return "NULL"
    return f"regexp_extract(RECOMMENDATION_ID, {quote_literal(DIGEST_PATTERN)}, 1)"


def _select_value_sql(metric: Metric, columns: Collection[str]) -> str:
    """Return SQL for the value of a row; NULL where it has none."""
    if not metric.expression.table:
        return "1.0::DOUBLE"
    if metric.expression.table == "ITEMS":
        return cast_to_finite_sql(_name_item_column(metric.expression.column))
    name = find_column(columns, metric.expression.column)
    return cast_to_finite_sql(name) if name else "NULL::DOUBLE"


def _clamp_sql(value: str) -> str:
    """Return SQL for a value that is not NULL, within bounds: sums of numbers near the largest stay finite."""
    return f"least(greatest({value}, -1e300), 1e300)"


def _name_item_column(column: str) -> str:
    """Return the name of a column of items in a join: no column of a dataset has a space in its name."""
    return f"item {column}"


_JOIN_ITEMS = f"LEFT JOIN items ON {quote_identifier(_name_item_column('ITEM_ID'))} = ITEM_ID"


def _iter_sums(database: DuckDBSession, metrics: Sequence[Metric]) -> Iterator[tuple[SumKey, Sum]]:
    """Yield the sums that are published, by bucket."""
    listed = "SELECT metric, source, bucket, value, count FROM sums WHERE published ORDER BY bucket, metric, source"
    for batch in database.iter_batches(listed, _ROWS_AT_ONCE):
        for number, source, bucket, value, count in batch:
            yield metrics[number].build_key(source, bucket), Sum(value, count)


def _write_report(target: Path, database: DuckDBSession, metrics: Sequence[Metric]) -> Path:
    """Write the report of all rows, old ones included; AWS publishes these to S3 alone."""
    listed = (
        "SELECT metric, sum(value), source, bucket FROM sums GROUP BY metric, source, bucket "
        "ORDER BY metric, bucket, source"
    )
    with target.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for batch in database.iter_batches(listed, _ROWS_AT_ONCE):
            for number, value, source, bucket in batch:
                metric = metrics[number]
                writer.writerow((metric.name, metric.event_type, value, metric.expression.function, source, bucket))
    return target
