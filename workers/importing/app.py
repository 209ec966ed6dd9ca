"""The Celery process of the ``importing`` queue."""

from shared.jobs.worker_process import create_worker_app
from workers.importing import tasks

__all__ = ["app", "tasks"]

app = create_worker_app("importing")
