"""The Celery process of the ``inference`` queue."""

from shared.jobs.worker_process import create_worker_app
from workers.inference import tasks

__all__ = ["app", "tasks"]

app = create_worker_app("inference")
