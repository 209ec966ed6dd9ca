"""The Celery process of the ``inference`` queue."""

from shared.jobs.worker_process import celery_process

app = celery_process("inference")
