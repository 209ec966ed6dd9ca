"""The fixture of the CSV tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.shared.data.csv.importer import Importer


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path)
