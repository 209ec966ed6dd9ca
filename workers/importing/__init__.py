"""Dataset import jobs."""
