"""Training jobs: one training at a time in each worker."""
