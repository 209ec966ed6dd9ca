"""The status service, the only writer of every status after a resource's first."""
