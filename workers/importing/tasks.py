"""One handler per command of the ``importing`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import register_handler
from shared.jobs.runner import run_leased
from shared.jobs.worker_process import get_current_process
from shared.state.messages import DeleteUsers, ExportDataset, ImportDataset


@register_handler(ImportDataset)
def import_dataset(command: ImportDataset) -> None:
    run_leased(command, get_current_process(), "workers.importing.import_job")


@register_handler(ExportDataset)
def export_dataset(command: ExportDataset) -> None:
    run_leased(command, get_current_process(), "workers.importing.export_job")


@register_handler(DeleteUsers)
def delete_users(command: DeleteUsers) -> None:
    run_leased(command, get_current_process(), "workers.importing.deletion_job")
