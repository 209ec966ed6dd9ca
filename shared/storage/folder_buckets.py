"""Folders as buckets.

A bucket is a sub-folder of the bucket root, or a folder that is mounted by name and read-only. Requests reach nothing
outside the folder of a bucket: keys are split into names and never decoded, and a path that leads out through a
symbolic link is refused. A file is opened once, from its bucket downwards and through no link, so that a file swapped
after the check is not read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from shared.storage.bucket_locations import (
    CSV_FILES,
    FORBIDDEN,
    INVALID,
    BucketError,
    FileSelection,
    Location,
    describe_empty_folder,
    filter_names,
    format_text,
    parse_location,
)

_BLOCK_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Linux: opening an entry opens the same file again, even if its name has changed.
_DESCRIPTORS = Path("/proc/self/fd")


@contextlib.contextmanager
def _convert_os_errors(location: Location) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise BucketError(
            f"{FORBIDDEN} Let the user that the worker runs as access {format_text(location.text)}."
        ) from error
    except FileNotFoundError as error:
        raise BucketError(
            f"{INVALID} There is nothing at {format_text(location.text)}. Check the key; it is case-sensitive."
        ) from error
    except (NotADirectoryError, FileExistsError) as error:
        raise BucketError(
            f"{INVALID} {format_text(location.text)} goes through a file as if it were a folder. Check the key."
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        detail = error.strerror if isinstance(error, OSError) else "a loop of symbolic links"
        raise BucketError(f"{INVALID} {format_text(location.text)} cannot be used: {detail}.") from error


class FolderBuckets:
    """Folders as buckets: the sub-folders of `root`, and `mounted` ones, which hide sub-folders of the same name."""

    def __init__(self, root: Path, mounted: Mapping[str, Path]) -> None:
        self._root = root
        self._mounted = mounted

    @contextlib.contextmanager
    def fetch_files(
        self,
        location: str,
        into: Path,
        on_block: Callable[[], object] = lambda: None,
        skipped: Callable[[str], None] = lambda _: None,
        selection: FileSelection = CSV_FILES,
    ) -> Iterator[list[Path]]:
        """See Buckets.fetch_files."""
        with contextlib.ExitStack() as opened:
            yield self._open_files(location, into, on_block, skipped, selection, opened)

    def _open_files(
        self,
        location: str,
        into: Path,
        on_block: Callable[[], object],
        skipped: Callable[[str], None],
        selection: FileSelection,
        opened: contextlib.ExitStack,
    ) -> list[Path]:
        place = parse_location(location)
        with _convert_os_errors(place):
            bucket = self._find_bucket(place)
            path = _resolve_inside(bucket, bucket.joinpath(*_split_key(place)), place)
            if path.is_dir():
                files = _list_folder_files(bucket, path, place, selection, skipped)
            elif place.key.endswith("/"):
                raise BucketError(f"{INVALID} {format_text(location)} is a file. Leave out the / at its end.")
            else:
                files = [path]
            fetched = []
            for number, file in enumerate(files):
                descriptor = _open_file(bucket, file, place)
                opened.callback(os.close, descriptor)
                fetched.append(_provide_path(descriptor, into / str(number) / file.name, on_block))
        return fetched

    def write_file(self, location: str, path: Path, on_block: Callable[[], object] = lambda: None) -> None:
        """See Buckets.write_file. Mounted buckets are read-only."""
        place = parse_location(location)
        self._refuse_mounted(place)
        with _convert_os_errors(place):
            bucket = self._find_bucket(place)
            names = _split_key(place)
            if not names or place.key.endswith("/"):
                raise BucketError(f"{INVALID} {format_text(location)} names no file. Add a file's name to it.")
            folder = bucket
            for name in names[:-1]:
                # Check each level, so that no folder is made behind a link that leads out of the bucket.
                folder = folder / name
                folder.mkdir(exist_ok=True)
                folder = _resolve_inside(bucket, folder, place)
            with _open_folder(bucket, folder, place) as descriptor:
                _copy_atomically(path, names[-1], descriptor, on_block)

    def check_writable(self, location: str) -> None:
        """See Buckets.check_writable."""
        place = parse_location(location)
        self._refuse_mounted(place)
        with _convert_os_errors(place):
            bucket = folder = self._find_bucket(place)
            for name in _split_key(place):
                if not os.path.lexists(folder / name):
                    break
                folder = _resolve_inside(bucket, folder / name, place)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _refuse_mounted(self, place: Location) -> None:
        if place.bucket in self._mounted:
            raise BucketError(f"{FORBIDDEN} The bucket {place.bucket} is mounted read-only; name another bucket.")

    def _find_bucket(self, place: Location) -> Path:
        try:
            if place.bucket in self._mounted:
                bucket = self._mounted[place.bucket].resolve(strict=True)
            else:
                bucket = _resolve_inside(self._root.resolve(), self._root / place.bucket, place)
        except FileNotFoundError:
            bucket = None
        if bucket is None or not bucket.is_dir():
            raise BucketError(
                f"{INVALID} There is no bucket {place.bucket}. Make a folder of this name in the folder of the "
                f"buckets (FORETASTE_S3_FOLDER), or mount one with --bucket {place.bucket}=PATH."
            )
        return bucket


def _split_key(place: Location) -> list[str]:
    """Split the key into file names. Parts that a file system would interpret, such as .., are refused."""
    names = place.key.split("/")
    if names[-1] == "":
        names.pop()
    if any(name in ("", ".", "..") or "\0" in name or "\\" in name for name in names):
        raise BucketError(
            f"{INVALID} {format_text(place.text)} has an empty part, ., .., a backslash or a NUL in its key. "
            "Give the key as it is in the bucket."
        )
    return names


def _resolve_inside(folder: Path, path: Path, place: Location) -> Path:
    """Return the real path of `path`, which must exist below the real path `folder`."""
    real = path.resolve(strict=True)
    if not real.is_relative_to(folder):
        raise BucketError(
            f"{INVALID} {format_text(place.text)} leads out of its bucket through a symbolic link. Copy the file "
            "into the bucket, or mount its folder as a bucket."
        )
    return real


def _list_folder_files(
    bucket: Path, folder: Path, place: Location, selection: FileSelection, skipped: Callable[[str], None]
) -> list[Path]:
    names = sorted(_iter_file_names(folder, "", selection))
    kept = list(filter_names(names, selection, skipped))
    if not kept:
        raise BucketError(describe_empty_folder(place, selection))
    return [_resolve_inside(bucket, folder / name, place) for name in kept]


def _iter_file_names(folder: Path, prefix: str, selection: FileSelection) -> Iterator[str]:
    """Yield the paths of the files below `folder`; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield f"{prefix}{entry.name}"
            elif selection.recursive and not entry.is_symlink():
                yield from _iter_file_names(folder / entry.name, f"{prefix}{entry.name}/", selection)


@contextlib.contextmanager
def _open_folder(bucket: Path, folder: Path, place: Location) -> Iterator[int]:
    """Yield a descriptor of a folder below the bucket, opened level by level through no link. Raises OSError."""
    descriptor = os.open(bucket, _FOLDER)
    try:
        for name in folder.relative_to(bucket).parts:
            inner = _open_below(descriptor, name, _FOLDER, place)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _open_file(bucket: Path, file: Path, place: Location) -> int:
    """Return a descriptor of a file below the bucket, opened through no link. Raises OSError."""
    with _open_folder(bucket, file.parent, place) as folder:
        # O_NONBLOCK: a named pipe without a writer would block the job for ever.
        descriptor = _open_below(folder, file.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BucketError(f"{INVALID} {format_text(file.name)} in {format_text(place.text)} is not a file. Remove it.")
    return descriptor


def _open_below(folder: int, name: str, flags: int, place: Location) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        # With O_DIRECTORY the error for a link is ENOTDIR instead of ELOOP.
        if error.errno == errno.ELOOP or stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise BucketError(
                f"{INVALID} {format_text(name)} in {format_text(place.text)} became a symbolic link while it was "
                "opened. Leave the files as they are until the job has ended."
            ) from error
        raise


def _provide_path(descriptor: int, path: Path, on_block: Callable[[], object]) -> Path:
    """Create `path` for the open file and return it: opening it reads that file from its beginning, each time."""
    path.parent.mkdir(parents=True)
    if _DESCRIPTORS.is_dir():
        path.symlink_to(_DESCRIPTORS / str(descriptor))
        return path
    # On other systems all readers of a descriptor's path share one position, so the file is copied.
    with os.fdopen(os.dup(descriptor), "rb") as reading, path.open("wb") as writing:
        while block := reading.read(_BLOCK_BYTES):
            writing.write(block)
            on_block()
    return path


def _copy_atomically(source: Path, name: str, folder: int, on_block: Callable[[], object]) -> None:
    """Copy a file so that it appears whole or not at all, and is synced to the disk."""
    draft = f".{secrets.token_hex(8)}.draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
            while block := reading.read(_BLOCK_BYTES):
                writing.write(block)
                on_block()
            writing.flush()
            os.fsync(writing.fileno())
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        raise
