"""rankingInfluence, as campaigns and batch inference jobs take it: a map of numbers that the service model checks."""

from __future__ import annotations

from collections.abc import Mapping

from shared.recipes.scoring_api import RankingInfluence


def parse_influence(config: Mapping[str, float] | None) -> RankingInfluence:
    """Return a checked rankingInfluence, with AWS's default of 0 for a missing factor."""
    wanted = config or {}
    return RankingInfluence(
        freshness=float(wanted.get("FRESHNESS", 0.0)), popularity=float(wanted.get("POPULARITY", 0.0))
    )
