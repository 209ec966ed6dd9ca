"""One handler per command of the ``importing`` queue."""

from __future__ import annotations

from shared.jobs.celery_app import register_handler
from shared.jobs.runner import run_leased, run_locked
from shared.jobs.worker_process import get_current_process
from shared.state.messages import CompactEvents, DeleteUsers, ExportDataset, ImportDataset


@register_handler(ImportDataset)
def import_dataset(command: ImportDataset) -> None:
    run_leased(command, get_current_process(), "workers.importing.import_job")


@register_handler(ExportDataset)
def export_dataset(command: ExportDataset) -> None:
    run_leased(command, get_current_process(), "workers.importing.export_job")


@register_handler(DeleteUsers)
def delete_users(command: DeleteUsers) -> None:
    run_leased(command, get_current_process(), "workers.importing.deletion_job")


@register_handler(CompactEvents)
def compact_events(command: CompactEvents) -> None:
    process = get_current_process()
    size = process.store.measure_stream(command.arn)
    # The message may have waited behind other work until another worker has done this.
    if size is not None and size.is_compaction_due(
        process.settings.live_events_most, process.settings.live_events_age, process.store.now()
    ):
        run_locked(command, process, "workers.importing.compaction_job")
