"""The network's operations in torch's own, for GPUs and torch.compile."""
