"""The child process of a dataset import job: checks CSV files against the schema, and writes them as Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from shared import settings
from shared.data import schemas
from shared.data.csv.csv_errors import trim_text
from shared.data.csv.csv_import import ImportFailed, ImportLimits, ImportResult, import_csv
from shared.jobs.entrypoint import ReportProgress, WorkFailed, WorkStopped, run_jobs
from shared.observability import logging
from shared.resources import ResourceReader
from shared.resources.dataset_import_job import FULL, ROWS
from shared.settings import Settings
from shared.state.messages import ImportDataset
from shared.storage.artifacts import Artifacts
from shared.storage.bucket_locations import BucketError
from shared.storage.buckets import open_buckets
from shared.store import Record
from shared.store.redis import RedisStore
from workers.importing.attribution import ImportSummer, find_attribution

log = structlog.get_logger()

#: Skipped files that the remarks name, at most.
MOST_NAMED = 10


def import_dataset(
    arn: str, attempt: int, progress: ReportProgress, should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """``shared.jobs.entrypoint.Job``: import the files of a job, and return the number of rows and the remarks."""
    configured = settings.load()
    store = RedisStore(configured.redis_url)
    reader = ResourceReader(store, configured)
    job = reader.find_record(arn, "dataset_import_job")
    dataset = reader.find_record(job.body["datasetArn"], "dataset")
    declared = reader.find_record(dataset.body["schemaArn"], "schema").body
    schema = schemas.parse_schema(
        declared["schema"], dataset_type=dataset.body["datasetType"], domain=declared.get("domain")
    )
    artifacts = Artifacts(configured.artifacts, on_block=should_stop)
    limits = ImportLimits(
        configured.import_memory_mb,
        min_rows=configured.import_min_interactions if dataset.body["datasetType"] == "INTERACTIONS" else 0,
        unreadable_share=configured.import_unreadable_share,
    )
    attribution = find_attribution(job, dataset, reader)
    skipped: list[str] = []

    def on_step() -> None:
        if should_stop():
            raise WorkStopped

    def on_rows(rows: int) -> None:
        on_step()
        progress({"phase": "importing", "rows": rows})

    try:
        with (
            tempfile.TemporaryDirectory(dir=artifacts.create_workspace(arn)) as downloads,
            artifacts.fill_artifact(arn, attempt) as folder,
            open_buckets(configured).fetch_files(
                job.body["dataSource"]["dataLocation"], Path(downloads), should_stop, skipped.append
            ) as files,
        ):
            _check_size(files, job, configured)
            imported = import_csv(files, schema, folder / ROWS, limits, on_rows)
            if attribution is not None:
                summer = ImportSummer(attribution, job, reader, store, artifacts, on_step)
                summer.attribute_rows(folder, Path(downloads), open_buckets(configured))
    except (BucketError, ImportFailed) as error:
        raise WorkFailed(str(error)) from error
    return {"rows": imported.rows, "remarks": _collect_remarks(imported, skipped)}


def _check_size(files: Sequence[Path], job: Record, configured: Settings) -> None:
    """Raise WorkFailed where the files are larger than the setting for the mode of the import."""
    mode = job.body["importMode"]
    if mode == FULL:
        most, advice = configured.quota_full_import_gb, "some of them, and the rest in mode INCREMENTAL"
    else:
        most, advice = configured.quota_incremental_import_gb, "them in several jobs"
    size = sum(file.stat().st_size for file in files)
    if most is not None and size > most << 30:
        raise WorkFailed(
            f"The files have {size / 2**30:.1f} GiB; an import in mode {mode} may have {most}. Import {advice}, or "
            f"raise FORETASTE_QUOTA_{mode}_IMPORT_GB."
        )


def _collect_remarks(imported: ImportResult, skipped: Sequence[str]) -> Mapping[str, Any]:
    """Log and return the remarks for the client: unreadable cells imported as null, and skipped files."""
    remarks: dict[str, Any] = {}
    if imported.nulls:
        remarks["nulls"], remarks["first"] = dict(imported.nulls), list(imported.first)
        log.warning("cells that could not be read are null", nulls=remarks["nulls"], first=remarks["first"])
    if skipped:
        remarks["skipped"] = [trim_text(name, 100) for name in skipped[:MOST_NAMED]]
        log.warning("files that hold no data were skipped", count=len(skipped), skipped=remarks["skipped"])
    return remarks


if __name__ == "__main__":
    logging.configure_logging(settings.load(), "importing")
    run_jobs({ImportDataset.wire: import_dataset})
