"""A folder of buckets for the storage tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.storage.folder_buckets import FolderBuckets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A bucket root with the bucket films, and a secret beside it."""
    films = tmp_path / "s3" / "films"
    (films / "2024" / "deeper").mkdir(parents=True)
    (films / "interactions.csv").write_text("USER_ID\n1\n")
    for name in ("b.csv", "a.csv", "_SUCCESS", ".part.crc"):
        (films / "2024" / name).write_text(name)
    (films / "2024" / "deeper" / "c.csv").write_text("c")
    (films / "empty").mkdir()
    (films / "only folders" / "inner").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("secret")
    (tmp_path / "s3" / "loose.csv").write_text("in no bucket")
    return tmp_path / "s3"


@pytest.fixture
def buckets(root: Path) -> FolderBuckets:
    return FolderBuckets(root, {})
