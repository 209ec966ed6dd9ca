"""Resolve ``s3://`` locations to folders on this machine or to S3: imports read from them, exports write to them.

Models and imported data are stored by ``artifacts``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from shared.settings import Settings, SettingsError
from shared.storage.bucket_locations import FileSelection
from shared.storage.folder_buckets import FolderBuckets
from shared.storage.s3_buckets import S3Buckets


class Buckets(Protocol):
    """The protocol of folder storage and S3."""

    def fetch_files(
        self,
        location: str,
        into: Path,
        on_block: Callable[[], object] = ...,
        skipped: Callable[[str], None] = ...,
        selection: FileSelection = ...,
    ) -> AbstractContextManager[list[Path]]:
        """Yield local paths of the files at ``s3://bucket/key``, sorted by name; at least one.

        The key names a file, or a folder whose files are read as `selection` says, without names that begin with ``_``
        or ``.`` (marks of Spark and similar tools), and without files that by their name hold no data, such as
        README.md; `skipped` is called with the names of the latter. The paths are below `into`, a folder of the
        caller's own, have the files' names, and last as long as the context. `on_block` is called for each block that
        is copied, in any thread. Raises BucketError.
        """
        ...

    def write_file(self, location: str, path: Path, on_block: Callable[[], object] = ...) -> None:
        """Store the file `path` at ``s3://bucket/key``, whole or not at all, replacing an existing file.

        `on_block` is called for each block that is copied, in any thread. Raises BucketError.
        """
        ...

    def check_writable(self, location: str) -> None:
        """Raise BucketError where no file can be written into the folder ``s3://bucket/key``, which may not exist yet.

        Nothing is written: a job finds out before it works for hours.
        """
        ...


def open_buckets(settings: Settings) -> Buckets:
    """Return the storage that the settings name, without a connection. Raises SettingsError."""
    match settings.storage:
        case "folder":
            return FolderBuckets(settings.bucket_root, settings.buckets)
        case "s3":
            return S3Buckets(settings.s3_endpoint_url)
        case other:
            raise SettingsError(f"FORETASTE_STORAGE is {other!r}; it must be 'folder' or 's3'")
