"""The fixture of the training data tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.shared.data.training.dataset import Dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)
