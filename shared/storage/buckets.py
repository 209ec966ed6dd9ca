"""Resolve ``s3://`` locations to folders on this machine or to S3: imports read from them, exports write to them.

In folder storage a bucket is a sub-folder of the bucket root, or a folder that is mounted by name and read-only.
Requests reach nothing outside the folder of a bucket: keys are split into names and never decoded, and a path that
leads out through a symbolic link is refused. A file is opened once, from its bucket downwards and through no link, so
that a file swapped after the check is not read. Models and imported data are stored by ``artifacts``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from shared.settings import Settings, SettingsError

_BLOCK_BYTES = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Linux: opening an entry opens the same file again, even if its name has changed.
_DESCRIPTORS = Path("/proc/self/fd")

# AWS's texts; messages continue with a remedy.
_INVALID = "Invalid Data location."
_FORBIDDEN = "Insufficient privileges for accessing data in Amazon S3."


class BucketError(Exception):
    """A location that cannot be read or written. The message is a failure reason: AWS's text and a remedy."""


#: Names of files that accompany data of any kind and hold none.
_DOCUMENTS = (
    r"(readme|licen[cs]e|notice|changelog)(\..*)?|thumbs\.db|desktop\.ini"
    r"|.*\.(metadata|manifest|md|rst|html?|pdf|docx?|ya?ml|toml|xml|avsc|sql|py|ipynb|sh|log|crc|md5|sha\d+|png|jpe?g)"
)


@dataclass(frozen=True, kw_only=True)
class FileSelection:
    """Which files of a folder a job reads. A location that names a file is read whatever its name is."""

    noun: str
    """The files in messages, such as "CSV files"."""
    no_data: re.Pattern[str]
    """The names of files that hold no data, such as README.md. Tables of other formats (.parquet, .gz) are not among
    them, so that a job refuses such a table instead of missing its rows."""
    recursive: bool = False
    """Whether the files of sub-folders are read too."""


def _compile_names(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


CSV_FILES = FileSelection(noun="CSV files", no_data=_compile_names(rf"{_DOCUMENTS}|manifest(\.json)?|.*\.jsonl?"))
CSV_TREE = FileSelection(noun="CSV files", no_data=CSV_FILES.no_data, recursive=True)
JSON_LINES_FILES = FileSelection(noun="files of JSON lines", no_data=_compile_names(_DOCUMENTS))


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


def open_buckets(settings: Settings) -> Buckets:
    """Return the storage that the settings name, without a connection. Raises SettingsError."""
    match settings.storage:
        case "folder":
            return FolderBuckets(settings.bucket_root, settings.buckets)
        case "s3":
            return S3Buckets(settings.s3_endpoint_url)
        case other:
            raise SettingsError(f"FORETASTE_STORAGE is {other!r}; it must be 'folder' or 's3'")


@dataclass(frozen=True, kw_only=True)
class _Location:
    text: str
    bucket: str
    key: str


def _parse_location(location: str) -> _Location:
    found = re.fullmatch(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?:/(.*))?", location, flags=re.DOTALL)
    # JSON can hold half of a surrogate pair, which is impossible in file names and S3 keys.
    if found is None or location != location.encode(errors="replace").decode():
        raise BucketError(f"{_INVALID} Give {_format_text(location)} in the form s3://bucket/key.")
    return _Location(text=location, bucket=found[1], key=found[2] or "")


def _filter_names(names: Iterable[str], selection: FileSelection, skipped: Callable[[str], None]) -> Iterator[str]:
    """Yield the names of a folder's data files; call `skipped` for names such as README.md.

    Names of files in sub-folders contain their path.
    """
    for name in names:
        parts = name.split("/")
        if any(part.startswith(("_", ".")) for part in parts):
            continue
        if selection.no_data.fullmatch(parts[-1]):
            skipped(name)
        else:
            yield name


@contextlib.contextmanager
def _convert_os_errors(location: _Location) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise BucketError(
            f"{_FORBIDDEN} Let the user that the worker runs as access {_format_text(location.text)}."
        ) from error
    except FileNotFoundError as error:
        raise BucketError(
            f"{_INVALID} There is nothing at {_format_text(location.text)}. Check the key; it is case-sensitive."
        ) from error
    except NotADirectoryError as error:
        raise BucketError(
            f"{_INVALID} {_format_text(location.text)} goes through a file as if it were a folder. Check the key."
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        detail = error.strerror if isinstance(error, OSError) else "a loop of symbolic links"
        raise BucketError(f"{_INVALID} {_format_text(location.text)} cannot be used: {detail}.") from error


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
        place = _parse_location(location)
        with _convert_os_errors(place):
            bucket = self._find_bucket(place)
            path = _resolve_inside(bucket, bucket.joinpath(*_split_key(place)), place)
            if path.is_dir():
                files = _list_folder_files(bucket, path, place, selection, skipped)
            elif place.key.endswith("/"):
                raise BucketError(f"{_INVALID} {_format_text(location)} is a file. Leave out the / at its end.")
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
        place = _parse_location(location)
        if place.bucket in self._mounted:
            raise BucketError(f"{_FORBIDDEN} The bucket {place.bucket} is mounted read-only; name another bucket.")
        with _convert_os_errors(place):
            bucket = self._find_bucket(place)
            names = _split_key(place)
            if not names or place.key.endswith("/"):
                raise BucketError(f"{_INVALID} {_format_text(location)} names no file. Add a file's name to it.")
            folder = bucket
            for name in names[:-1]:
                # Check each level, so that no folder is made behind a link that leads out of the bucket.
                folder = folder / name
                folder.mkdir(exist_ok=True)
                folder = _resolve_inside(bucket, folder, place)
            with _open_folder(bucket, folder, place) as descriptor:
                _copy_atomically(path, names[-1], descriptor, on_block)

    def _find_bucket(self, place: _Location) -> Path:
        try:
            if place.bucket in self._mounted:
                bucket = self._mounted[place.bucket].resolve(strict=True)
            else:
                bucket = _resolve_inside(self._root.resolve(), self._root / place.bucket, place)
        except FileNotFoundError:
            bucket = None
        if bucket is None or not bucket.is_dir():
            raise BucketError(
                f"{_INVALID} There is no bucket {place.bucket}. Make a folder of this name in the folder of the "
                f"buckets (FORETASTE_S3_FOLDER), or mount one with --bucket {place.bucket}=PATH."
            )
        return bucket


def _split_key(place: _Location) -> list[str]:
    """Split the key into file names. Parts that a file system would interpret, such as .., are refused."""
    names = place.key.split("/")
    if names[-1] == "":
        names.pop()
    if any(name in ("", ".", "..") or "\0" in name or "\\" in name for name in names):
        raise BucketError(
            f"{_INVALID} {_format_text(place.text)} has an empty part, ., .., a backslash or a NUL in its key. "
            "Give the key as it is in the bucket."
        )
    return names


def _resolve_inside(folder: Path, path: Path, place: _Location) -> Path:
    """Return the real path of `path`, which must exist below the real path `folder`."""
    real = path.resolve(strict=True)
    if not real.is_relative_to(folder):
        raise BucketError(
            f"{_INVALID} {_format_text(place.text)} leads out of its bucket through a symbolic link. Copy the file "
            "into the bucket, or mount its folder as a bucket."
        )
    return real


def _list_folder_files(
    bucket: Path, folder: Path, place: _Location, selection: FileSelection, skipped: Callable[[str], None]
) -> list[Path]:
    names = sorted(_iter_file_names(folder, "", selection))
    kept = list(_filter_names(names, selection, skipped))
    if not kept:
        raise BucketError(_describe_empty_folder(place, selection))
    return [_resolve_inside(bucket, folder / name, place) for name in kept]


def _iter_file_names(folder: Path, prefix: str, selection: FileSelection) -> Iterator[str]:
    """Yield the paths of the files below `folder`; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield f"{prefix}{entry.name}"
            elif selection.recursive and not entry.is_symlink():
                yield from _iter_file_names(folder / entry.name, f"{prefix}{entry.name}/", selection)


def _describe_empty_folder(place: _Location, selection: FileSelection) -> str:
    where = "it" if selection.recursive else "its first level"
    not_read = "names" if selection.recursive else "sub-folders, names"
    return (
        f"{_INVALID} The folder {_format_text(place.text)} holds no files. Put {selection.noun} into {where}; "
        f"{not_read} that begin with _ or ., and files that hold no data (README.md) are not read."
    )


@contextlib.contextmanager
def _open_folder(bucket: Path, folder: Path, place: _Location) -> Iterator[int]:
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


def _open_file(bucket: Path, file: Path, place: _Location) -> int:
    """Return a descriptor of a file below the bucket, opened through no link. Raises OSError."""
    with _open_folder(bucket, file.parent, place) as folder:
        # O_NONBLOCK: a named pipe without a writer would block the job for ever.
        descriptor = _open_below(folder, file.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, place)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BucketError(
            f"{_INVALID} {_format_text(file.name)} in {_format_text(place.text)} is not a file. Remove it."
        )
    return descriptor


def _open_below(folder: int, name: str, flags: int, place: _Location) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        # With O_DIRECTORY the error for a link is ENOTDIR instead of ELOOP.
        if error.errno == errno.ELOOP or stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise BucketError(
                f"{_INVALID} {_format_text(name)} in {_format_text(place.text)} became a symbolic link while it was "
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


class S3Buckets:
    """Any S3 endpoint, through boto3 and its own chain of credentials."""

    def __init__(self, endpoint_url: str | None) -> None:
        self._endpoint_url = endpoint_url

    @contextlib.contextmanager
    def fetch_files(
        self,
        location: str,
        into: Path,
        on_block: Callable[[], object] = lambda: None,
        skipped: Callable[[str], None] = lambda _: None,
        selection: FileSelection = CSV_FILES,
    ) -> Iterator[list[Path]]:
        """See Buckets.fetch_files. A key that is no object is read as a folder, with or without ``/`` at its end."""
        place = _parse_location(location)
        client = self._create_client()
        with _convert_s3_errors(place):
            is_object = bool(place.key) and not place.key.endswith("/") and _has_object(client, place)
            keys = [place.key] if is_object else _list_folder_keys(client, place, selection, skipped)
            files = [_download_object(client, place.bucket, key, into / str(n), on_block) for n, key in enumerate(keys)]
        yield files

    def write_file(self, location: str, path: Path, on_block: Callable[[], object] = lambda: None) -> None:
        """See Buckets.write_file."""
        place = _parse_location(location)
        if not place.key or place.key.endswith("/"):
            raise BucketError(f"{_INVALID} {_format_text(location)} names no file. Add a file's name to it.")
        with _convert_s3_errors(place):
            self._create_client().upload_file(str(path), place.bucket, place.key, Callback=lambda _bytes: on_block())

    def _create_client(self) -> Any:
        # Imported here because folder storage needs no boto3.
        import boto3
        from botocore.config import Config

        # boto3's default session would keep the credentials that the process found first.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint_url,
            config=Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3}),
        )


@contextlib.contextmanager
def _convert_s3_errors(place: _Location) -> Iterator[None]:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise BucketError(
            f"{_FORBIDDEN} Give the worker credentials, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except (ClientError, S3UploadFailedError) as error:
        # For a failed upload boto3 raises an error of its own, with the ClientError as its context.
        cause = error if isinstance(error, ClientError) else error.__context__
        raise BucketError(_describe_s3_error(place, cause)) from error
    except BotoCoreError as error:
        raise BucketError(
            f"{_INVALID} S3 did not answer for {_format_text(place.text)} ({type(error).__name__}). Check "
            "FORETASTE_S3_ENDPOINT_URL and the Region, then create a new job."
        ) from error


def _describe_s3_error(place: _Location, error: BaseException | None) -> str:
    answer = getattr(error, "response", {})
    code = answer.get("Error", {}).get("Code", "")
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403):
        return (
            f"{_FORBIDDEN} S3 answered {code} for {_format_text(place.text)}. Allow s3:GetObject and s3:ListBucket "
            "(s3:PutObject for exports) to the credentials of the worker."
        )
    if code == "NoSuchBucket":
        return f"{_INVALID} There is no bucket {place.bucket}. Check its name, Region and endpoint."
    return f"{_INVALID} S3 answered {code or 'an error'} for {_format_text(place.text)}. Check the location."


def _has_object(client: Any, place: _Location) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_object(Bucket=place.bucket, Key=place.key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _list_folder_keys(
    client: Any, place: _Location, selection: FileSelection, skipped: Callable[[str], None]
) -> list[str]:
    prefix = f"{place.key.removesuffix('/')}/" if place.key else ""
    levels = {} if selection.recursive else {"Delimiter": "/"}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix, **levels)
    found = [each["Key"] for page in pages for each in page.get("Contents", [])]
    # AWS's console marks a folder by a key that is the prefix itself.
    names = sorted(key.removeprefix(prefix) for key in found if not key.endswith("/"))
    keys = [f"{prefix}{name}" for name in _filter_names(names, selection, skipped)]
    if not keys:
        if place.key.endswith("/") or not place.key or found:
            raise BucketError(_describe_empty_folder(place, selection))
        raise BucketError(
            f"{_INVALID} There is nothing at {_format_text(place.text)}. Check the key; it is case-sensitive."
        )
    return keys


def _download_object(client: Any, bucket: str, key: str, folder: Path, on_block: Callable[[], object]) -> Path:
    # The name serves messages only, so characters of paths are replaced and long names cut.
    name = re.sub(r"[\x00-\x1f/\\]", "_", key.rpartition("/")[2])[-60:].lstrip(".") or "object"
    folder.mkdir(parents=True)
    client.download_file(bucket, key, str(folder / name), Callback=lambda _bytes: on_block())
    return folder / name


def _format_text(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 200 else f"{shown[:197]}..."
