"""The scorer of Trending-Now: one list for all users, as for Popularity-Count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from shared.recipes import trending
from shared.recipes.declaration import Recipe
from shared.recipes.popularity import scoring


class Scorer(scoring.Scorer):
    """``shared.recipes.scoring_api.Scorer``."""

    recipes: ClassVar[Sequence[Recipe]] = trending.RECIPES
