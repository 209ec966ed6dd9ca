"""What the command line's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.data import demo_catalogue


@pytest.fixture
def few_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue just large enough to train on."""
    for name, size in {"USERS": 60, "ITEMS": 150, "INTERACTIONS": 1800}.items():
        monkeypatch.setattr(demo_catalogue, name, size)
    demo_catalogue.write_demo_data(tmp_path / "films")
    return tmp_path / "films"
