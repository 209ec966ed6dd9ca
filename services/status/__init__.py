"""The status service: every status after the first is written here and nowhere else."""
