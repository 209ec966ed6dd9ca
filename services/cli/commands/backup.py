"""``foretaste backup``: a copy of a data folder, made while the system runs or not, on which ``up`` starts again."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from services.cli.errors import CannotBackUp
from services.cli.local import redis_files
from services.cli.local.data_dir import DataDir
from services.cli.options import DEFAULT_DATA_DIR
from shared.storage.artifacts import LIVE, sync_to_disk

#: Attempts to copy Redis' files, which Redis rewrites now and then, within seconds.
TRIES = 20
#: Settings that put data outside the data folder, where it needs a backup of its own.
ELSEWHERE = ("FORETASTE_REDIS_URL", "FORETASTE_REDIS_URL_FILE", "FORETASTE_ARTIFACTS_DIR", "FORETASTE_S3_FOLDER")


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=DEFAULT_DATA_DIR,
    envvar="FORETASTE_DATA_DIR",
    show_default=True,
    help="Folder that `up` uses.",
)
@click.argument("target", type=click.Path(path_type=Path))
def backup(data_dir: Path, target: Path) -> None:
    """Copy resources, events, models, buckets and keys to the new folder TARGET, while `up` runs or not.

    The copy has every write that was acknowledged before it began. To restore it, start on it, or on a copy of it:
    `foretaste up --data-dir TARGET`.
    """
    copied = copy_data_dir(DataDir(data_dir), target)
    click.echo(f"{target}: {copied / 2**20:,.1f} MiB; to use it: foretaste up --data-dir {target}")
    for name in ELSEWHERE:
        if os.environ.get(name):
            click.echo(f"foretaste: not in it is what {name} names: back it up there", err=True)


def copy_data_dir(source: DataDir, target: Path) -> int:
    """Make the copy, which appears whole or not at all. Returns its bytes. Raises CannotBackUp."""
    if target.exists():
        raise CannotBackUp(f"{target} exists already: name a new folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        # Redis first: a model or an import is kept before its record says that it is there. The files of live events
        # are copied before and after it: those in the list of that moment stood there before, or have come since, and
        # a file that is replaced stays for an hour (shared/data/live_files.py).
        copied = _copy_live_events(source, draft)
        copied += _copy_redis_files(source, DataDir(draft))
        copied += _copy_live_events(source, draft)
        for folder in ("artifacts/kept", "s3"):
            copied += _copy_tree(source.path / folder, draft / folder)
        if source.client_env.exists():
            copied += _copy_file(source.client_env, draft / source.client_env.name)
        draft.rename(target)
        sync_to_disk(target.absolute().parent)
    except OSError as error:
        raise CannotBackUp(f"{error.filename or target}: {error.strerror}; nothing was left at {target}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return copied


def _copy_live_events(source: DataDir, draft: Path) -> int:
    """Copy the files of live events that the copy has not yet; a file never changes."""
    live = Path("artifacts") / LIVE
    copied = 0
    for path in sorted((source.path / live).glob("*/*")):
        target = draft / path.relative_to(source.path)
        if not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # replaced long ago, or of a dataset that was deleted
                copied += _copy_file(path, target)
    return copied


def _copy_redis_files(source: DataDir, target: DataDir) -> int:
    """The password, and all files of one manifest: they only grow, until Redis writes another manifest."""
    password = source.redis / "password"
    target.redis.mkdir(mode=0o700)
    copied = _copy_file(password, target.redis / password.name) if password.exists() else 0
    files = source.redis / redis_files.FOLDER
    for _ in range(TRIES):
        shutil.rmtree(target.redis / redis_files.FOLDER, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # rewritten while it was copied
            before = _read_manifest(files)
            made = _copy_tree(files, target.redis / redis_files.FOLDER, vanishing=False)
            if _read_manifest(files) == before:
                return copied + made
    raise CannotBackUp(f"Redis rewrites the files in {files} all the time: try again later")


def _read_manifest(files: Path) -> bytes | None:
    path = files / redis_files.MANIFEST
    return path.read_bytes() if files.is_dir() and path.exists() else None


def _copy_tree(source: Path, target: Path, *, vanishing: bool = True) -> int:
    """Copy the files below a folder, if it exists. Where files may vanish during the copy, skip those that do."""
    if not source.is_dir():
        return 0
    target.mkdir(mode=0o700, parents=True)
    copied = 0
    for path in _iter_below(source):
        place = target / path.relative_to(source)
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir():
            place.mkdir(mode=0o700)
        elif path.is_file():
            with contextlib.suppress(*([FileNotFoundError] if vanishing else [])):
                copied += _copy_file(path, place)
    sync_to_disk(target)
    return copied


def _iter_below(folder: Path) -> Iterator[Path]:
    """Yield each folder before its contents; follow no link."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):
                yield from _iter_below(path)


def _copy_file(source: Path, target: Path) -> int:
    shutil.copy2(source, target)
    sync_to_disk(target)
    return target.stat().st_size
