"""Files fetched from buckets, and the reasons of refused locations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.storage.bucket_locations import CSV_FILES, BucketError, FileSelection
from shared.storage.buckets import Buckets

INVALID = "Invalid Data location."
FORBIDDEN = "Insufficient privileges for accessing data in Amazon S3."


def fetched(
    buckets: Buckets,
    location: str,
    into: Path,
    skipped: Callable[[str], None] = lambda _: None,
    selection: FileSelection = CSV_FILES,
) -> list[tuple[str, str]]:
    """Name and content of each file."""
    with (
        tempfile.TemporaryDirectory(dir=into) as folder,
        buckets.fetch_files(location, Path(folder), skipped=skipped, selection=selection) as files,
    ):
        assert all(file.is_relative_to(folder) for file in files)
        return [(file.name, file.read_text()) for file in files]


def refusal(buckets: Buckets, location: str, into: Path = Path("/nonexistent")) -> str:
    with pytest.raises(BucketError) as caught, buckets.fetch_files(location, into):
        pass
    return str(caught.value)
