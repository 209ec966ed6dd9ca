"""The scorer of Popularity-Count."""

from shared.recipes.popularity.scoring import Scorer

__all__ = ["Scorer"]
