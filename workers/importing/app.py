"""The Celery process of the ``importing`` queue."""

from shared.jobs.worker_process import celery_process
from workers.importing import tasks

__all__ = ["app", "tasks"]

app = celery_process("importing")
