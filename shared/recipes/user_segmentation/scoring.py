"""The scorer for batch segment jobs: the HRNN's distribution over items for one user."""

from __future__ import annotations

from shared.recipes.hrnn import scoring


class Scorer(scoring.Scorer):
    """A model in memory. Threads may share it."""
