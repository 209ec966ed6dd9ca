"""The Celery process of the ``inference`` queue."""

from shared.process import celery_process

app = celery_process("inference")
