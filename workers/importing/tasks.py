"""One handler per command of the ``importing`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import handles
from shared.jobs.runner import work
from shared.jobs.worker_process import current
from shared.state.messages import ImportDataset


@handles(ImportDataset)
def import_dataset(command: ImportDataset) -> None:
    work(command, current(), "workers.importing.import_job")
