"""A trained affinity of users to items, serving batch segment jobs: the HRNN's distribution for one user."""

from __future__ import annotations

from shared.recipes.hrnn import scoring


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""
