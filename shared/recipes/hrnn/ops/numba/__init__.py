"""The network's operations on a CPU, compiled by numba."""
