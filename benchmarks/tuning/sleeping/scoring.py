"""Popularity-Count's."""

from shared.recipes.popularity.scoring import Scorer

__all__ = ["Scorer"]
