"""Batch jobs: a query per line of the input, answered in shards by any number of workers."""
