"""The Celery process of the ``inference`` queue."""

from shared.jobs.worker_process import create_worker_app

app = create_worker_app("inference")
