"""The Celery process of the ``training`` queue."""

from shared.jobs.worker_process import create_worker_app
from workers.training import tasks

__all__ = ["app", "tasks"]

app = create_worker_app("training")
