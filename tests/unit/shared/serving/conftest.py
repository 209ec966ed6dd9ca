"""Runtimes with data to filter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.services.runtime_world import Runtime
from tests.unit.shared.serving.filter_world import create_runtime


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Its data stay as they are: who has events sent has a user of their own."""
    return create_runtime(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def fresh(tmp_path: Path) -> Runtime:
    return create_runtime(tmp_path)
