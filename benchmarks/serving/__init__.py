"""Requests per second and latency of GetRecommendations and PutEvents, beside the same servers answering a constant."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is loaded: as in a runtime
