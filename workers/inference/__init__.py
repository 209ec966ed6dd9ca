"""Batch inference and batch segment jobs: a worker process for a queue to which no command is sent yet."""
