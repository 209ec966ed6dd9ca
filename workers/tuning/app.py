"""The Celery process of the ``tuning`` queue."""

from shared.jobs.worker_process import create_worker_app
from workers.tuning import tasks

__all__ = ["app", "tasks"]

app = create_worker_app("tuning", long_work=False)
