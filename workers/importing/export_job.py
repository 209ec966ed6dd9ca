"""The job process of a dataset export job: writes the records of a dataset as CSV files into a bucket.

An attempt that continues an earlier one exports the same records: the list of imports, the live events and the put
records lie in the job's workspace. So its files have the names and contents of the earlier attempt's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from shared import settings
from shared.data import live_events, schemas, streamed_records
from shared.data.arrays.histories import DataRefused
from shared.data.csv_export import ExportedRows, write_csv_files
from shared.data.duckdb_session import DuckDBSession
from shared.data.schemas import DatasetSchema
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkStopped, run_jobs
from shared.observability import logging
from shared.resources import ResourceReader
from shared.resources.dataset_export_job.requests import BULK, PUT
from shared.resources.dataset_import_job import ROWS, iter_current_jobs
from shared.state.lifecycle import ACTIVE
from shared.state.messages import ExportDataset
from shared.storage.artifacts import ArtifactDamaged, Artifacts, replace_file
from shared.storage.bucket_locations import BucketError
from shared.storage.buckets import Buckets, open_buckets
from shared.store import Record, Store
from shared.store.redis import RedisStore


def export_dataset(
    arn: str, _attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: export a dataset, and return the numbers of rows and files."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reader = ResourceReader(store, configured)
    job = reader.find_record(arn, "dataset_export_job")

    def on_step() -> None:
        if should_stop():
            raise WorkStopped

    artifacts = Artifacts(configured.artifacts, on_block=on_step)
    export = DatasetExport(job, reader, store, artifacts, on_step)
    progress({"phase": "reading"})
    try:
        with (
            tempfile.TemporaryDirectory(dir=export.workspace) as scratch,
            DuckDBSession(
                memory_mb=configured.import_memory_mb,
                scratch=Path(scratch),
                on_step=on_step,
                again="create a new dataset export job",
            ) as database,
        ):
            files, rows = write_csv_files(
                export.collect_rows(), Path(scratch) / "files", database, file_bytes=configured.export_file_mb << 20
            )
            progress({"phase": "writing", "rows": rows})
            export.upload_files(files, open_buckets(configured))
    except (ArtifactDamaged, BucketError, DataRefused) as error:
        raise WorkFailed(str(error)) from error
    return {"rows": rows, "files": len(files)}


@dataclass(frozen=True)
class DatasetExport:
    """One export job. ``on_step`` is called for each file, event and record; it may raise to end the work."""

    job: Record
    reader: ResourceReader
    store: Store
    artifacts: Artifacts
    on_step: Callable[[], None]

    @property
    def workspace(self) -> Path:
        return self.artifacts.create_workspace(self.job.arn)

    def collect_rows(self) -> ExportedRows:
        """Find the dataset's files, and write its live events or put records as files. Raises WorkFailed."""
        dataset = self.find_dataset()
        declared = self.reader.find_record(dataset.body["schemaArn"], "schema").body
        schema = schemas.parse_schema(declared["schema"], domain=declared.get("domain"))
        imports = self._fix_imports(dataset)
        imported = [self.artifacts.open_artifact(arn) / ROWS for arn, _ in imports]
        sent = self._write_sent_records(dataset, schema, [requested for _, requested in imports])
        # A record that was sent after an import's request is newer than the import's rows.
        files = [file for pair in zip(sent, [*imported, None], strict=True) for file in pair if file is not None]
        return ExportedRows(files=files, schema=schema, imported_alone=files == imported and len(imported) == 1)

    def find_dataset(self) -> Record:
        """Return the dataset, which must not have been deleted in the meantime. Raises WorkFailed."""
        dataset = self.store.get(self.job.body["datasetArn"])
        if dataset is None or dataset.status != ACTIVE:
            raise WorkFailed(f"The dataset {self.job.body['datasetArn']} was deleted while it was exported.")
        return dataset

    def _fix_imports(self, dataset: Record) -> list[tuple[str, float]]:
        """Return the ARNs of the imports to export, the older ones first, and when each was requested."""
        path = self.workspace / "imports.json"
        if not path.exists():
            mode = self.job.body["ingestionMode"]
            jobs = [] if mode == PUT else reversed(list(iter_current_jobs(dataset.arn, self.reader)))
            replace_file(path, orjson.dumps([[job.arn, job.created] for job in jobs]))
        return [(arn, requested) for arn, requested in orjson.loads(path.read_bytes())]

    def _write_sent_records(
        self, dataset: Record, schema: DatasetSchema, requested: Sequence[float]
    ) -> list[Path | None]:
        """Write the records that clients sent before each import, and after all of them; None where there are none."""
        if self.job.body["ingestionMode"] == BULK:
            return [None] * (len(requested) + 1)
        if schema.key is not None:
            put = self.store.iter_put_records(dataset.arn)
            return streamed_records.write_records(put, schema, self.workspace / "put", requested, self.on_step)
        live = live_events.iter_live_events(self.store, self.artifacts, dataset.arn, self.on_step)
        written = streamed_records.write_events(live, schema, self.workspace / "live.parquet", self.on_step)
        return [*[None] * len(requested), written]

    def upload_files(self, files: Sequence[Path], buckets: Buckets) -> None:
        """Store the files in the folder that the job names. Raises BucketError, and WorkFailed as ``find_dataset``."""
        folder = self.job.body["jobOutput"]["s3DataDestination"]["path"].rstrip("/")
        created = datetime.fromtimestamp(self.job.created, UTC)
        # No other job has this name and this time: a job is created again only after its dataset has been deleted.
        begin = f"{self.job.body['jobName']}-{created:%Y%m%dT%H%M%S}{created.microsecond // 1000:03d}Z"
        for number, file in enumerate(files):
            self.find_dataset()
            buckets.write_file(f"{folder}/{begin}-{number:05d}.csv", file, self.on_step)


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "importing")
    run_jobs({ExportDataset.wire: export_dataset})
