"""Batch inference and batch segment jobs: a process and a queue, which no command is sent to yet."""
