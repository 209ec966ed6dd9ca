"""The Celery process of the ``tuning`` queue."""

from shared.jobs.worker_process import celery_process
from workers.tuning import tasks

__all__ = ["app", "tasks"]

app = celery_process("tuning", long_work=False)
