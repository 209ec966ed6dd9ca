"""What unit tests of several parts of the tree stand on."""

from __future__ import annotations

import pytest

from shared import recipes
from tests.unit.shared.resources.standing import MADE_UP, Standing


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Standing:
    """A dataset group in memory, and recipes that have each flag."""
    monkeypatch.setattr(recipes, "RECIPES", {**recipes.RECIPES, **MADE_UP})
    return Standing()
