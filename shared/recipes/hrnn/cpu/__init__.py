"""The network's parts on a CPU, compiled by numba. Not for a GPU, where numba need not be installed."""
