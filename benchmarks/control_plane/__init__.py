"""Latency of Describe and List among many resources, beside the same servers answering a constant of their size."""
