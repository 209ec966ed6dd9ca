"""The Celery process of the ``tuning`` queue."""

from shared.process import celery_process

app = celery_process("tuning")
