"""The child process of one dataset import job: CSV from the buckets, checked against the schema, to Parquet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared import settings, telemetry
from shared.artifacts import Artifacts
from shared.buckets import BucketError, open_buckets
from shared.data import schemas
from shared.data.importing import ImportFailed, import_csv
from shared.job import Progress, WorkFailed, WorkStopped, child
from shared.messages import ImportDataset
from shared.resources import Reading
from shared.resources.dataset_import_job import ROWS
from shared.store.redis import RedisStore

#: A FULL import of interactions must bring at least so many rows (AWS's rule for bulk data).
MIN_INTERACTIONS = 1000


def import_dataset(arn: str, attempt: int, progress: Progress, should_stop: Callable[[], bool]) -> Mapping[str, Any]:
    configured = settings.load()
    reading = Reading(RedisStore(configured.redis_url), configured)
    job = reading.find(arn, "dataset_import_job")
    dataset = reading.find(job.body["datasetArn"], "dataset")
    declared = reading.find(dataset.body["schemaArn"], "schema").body
    schema = schemas.parse(declared["schema"], dataset_type=dataset.body["datasetType"], domain=declared.get("domain"))
    artifacts = Artifacts(configured.artifacts, on_block=should_stop)

    def on_step() -> None:
        if should_stop():
            raise WorkStopped

    def on_rows(rows: int) -> None:
        on_step()
        progress({"phase": "importing", "rows": rows})

    try:
        with (
            tempfile.TemporaryDirectory(dir=artifacts.workspace(arn)) as downloads,
            artifacts.filling(arn, attempt) as folder,
            open_buckets(configured).fetch(
                job.body["dataSource"]["dataLocation"], Path(downloads), should_stop
            ) as files,
        ):
            imported = import_csv(
                files,
                schema,
                folder / ROWS,
                memory_mb=configured.import_memory_mb,
                min_rows=MIN_INTERACTIONS if dataset.body["datasetType"] == "INTERACTIONS" else 0,
                progress=on_rows,
                on_step=on_step,
            )
    except (BucketError, ImportFailed) as error:
        raise WorkFailed(str(error)) from error
    return {"rows": imported.rows}


if __name__ == "__main__":
    telemetry.configure(settings.load(), "importing")
    child({ImportDataset.wire: import_dataset})
