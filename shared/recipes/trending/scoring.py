"""One list, serving, as of Popularity-Count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from shared.recipes import trending
from shared.recipes.contract import Recipe
from shared.recipes.popularity import scoring


class Scorer(scoring.Scorer):
    """``shared.recipes.contract.Scorer``."""

    recipes: ClassVar[Sequence[Recipe]] = trending.RECIPES
