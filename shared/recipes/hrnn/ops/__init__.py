"""The operations of the network, a file for each. Its function picks the implementation for the tensors' device.

``numba/`` has the kernels for CPUs, imported on first use: a machine that trains on GPUs needs no numba. ``pytorch/``
has the implementations in torch's own operations, for GPUs and for torch.compile. Both give the same to float rounding.
"""
