"""The choice between the kernels for CPUs and torch's operations."""

from __future__ import annotations

import torch
from torch import Tensor


def has_cpu_kernels(x: Tensor) -> bool:
    """Say if the kernels of ``numba/`` compute with this tensor: on a CPU, unless torch.compile traces."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
