"""The Celery process of the ``training`` queue."""

from shared.jobs.worker_process import celery_process
from workers.training import tasks

__all__ = ["app", "tasks"]

app = celery_process("training")
