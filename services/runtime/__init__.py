"""The runtime service: personalize-runtime, answered with the models in memory."""

import os

# Before numpy is loaded. Requests run in parallel: threads within one small product would wait for each other on busy
# cores and make each request slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
