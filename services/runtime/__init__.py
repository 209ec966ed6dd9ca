"""The runtime service: personalize-runtime, which answers with the models that it holds in memory."""

import os

# Before numpy is loaded. Requests are what runs side by side: the threads of one small product, waiting for each other
# on cores that are busy, would make each of them slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
