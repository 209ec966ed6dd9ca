"""Model and data files: one folder per ARN under a root that importing, training and runtime processes share.

A folder appears whole or not at all: it is filled under a draft name, listed in a manifest with sizes and checksums,
synced, and renamed. ``buckets.py`` reads and writes the clients' own S3 data.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import orjson

from shared.system.exchange_paths import exchange_paths

MANIFEST = "manifest.json"
#: The folder of the folders of live events.
LIVE = "live"
_BLOCK_BYTES = 1 << 20


class ArtifactDamaged(Exception):
    """A file of an artifact is missing or differs from the manifest; the message names the file."""


class Artifacts:
    """The artifacts under ``root``. ``on_block`` is called for each block of a file whose checksum is computed."""

    def __init__(self, root: Path, on_block: Callable[[], object] = lambda: None) -> None:
        self._root = root
        self._on_block = on_block

    def get_folder(self, arn: str) -> Path:
        """Return the folder of the artifact of ``arn``, which may not exist yet."""
        return self._root / "kept" / _encode_arn(arn)

    def get_workspace(self, arn: str) -> Path:
        """Return the folder for work in progress on ``arn``, which may not exist."""
        return self._root / "work" / _encode_arn(arn)

    def create_workspace(self, arn: str) -> Path:
        """Create the folder for work in progress on ``arn``, such as checkpoints; it outlives a failed attempt."""
        folder = self.get_workspace(arn)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def get_live_folder(self, arn: str) -> Path:
        """Return the folder of the live events of a dataset, which may not exist yet; the store lists its files."""
        return self._root / LIVE / _encode_arn(arn)

    def list_live_folders(self) -> list[str]:
        """Return the ARNs of the datasets with a folder of live events."""
        return [unquote(folder.name) for folder in (self._root / LIVE).glob("*")]

    def has_workspace(self, arn: str) -> bool:
        return (self._root / "work" / _encode_arn(arn)).exists()

    @contextlib.contextmanager
    def fill_artifact(self, arn: str, attempt: int) -> Iterator[Path]:
        """Yield an empty folder, which becomes the artifact of ``arn`` at the end; an exception removes it."""
        # Drafts of killed attempts are removed too.
        self.discard_drafts(arn)
        draft = self._root / "drafts" / f"{_encode_arn(arn)}.{attempt}"
        draft.mkdir(parents=True)
        try:
            yield draft
            self._write_manifest(draft)
            target = self.get_folder(arn)
            target.parent.mkdir(parents=True, exist_ok=True)
            # An earlier attempt may have renamed its folder and died before it could report.
            shutil.rmtree(target, ignore_errors=True)
            draft.rename(target)
            sync_to_disk(target.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextlib.contextmanager
    def fill_replacement(self, arn: str) -> Iterator[Path]:
        """Yield an empty folder, which ``swap_replacement`` puts in the place of the artifact; an exception removes it.

        An earlier replacement that was interrupted is cleared away.
        """
        self.restore_artifact(arn)
        draft = self._get_replacement(arn)
        draft.mkdir(parents=True)
        try:
            yield draft
            self._write_manifest(draft)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def swap_replacement(self, arn: str) -> None:
        """Put the folder that ``fill_replacement`` has filled in the place of the artifact, which is removed."""
        target, draft = self.get_folder(arn), self._get_replacement(arn)
        if not exchange_paths(target, draft):
            target.rename(self._get_replacement(arn, ".away"))
            draft.rename(target)
        sync_to_disk(target.parent)
        sync_to_disk(draft.parent)
        self.restore_artifact(arn)

    def restore_artifact(self, arn: str) -> None:
        """Undo a replacement that was interrupted before it took the artifact's place, or complete it otherwise."""
        away = self._get_replacement(arn, ".away")
        if away.exists() and not self.get_folder(arn).exists():
            away.rename(self.get_folder(arn))
        for left in (self._get_replacement(arn), away):
            shutil.rmtree(left, ignore_errors=True)

    def _get_replacement(self, arn: str, suffix: str = "") -> Path:
        return self._root / "drafts" / f"{_encode_arn(arn)}.replacement{suffix}"

    def compute_digest(self, arn: str, *, of_replacement: bool = False) -> str:
        """Return the SHA-256 of an artifact's manifest, or of its replacement's: the same for the same files.

        Raises FileNotFoundError where there is no artifact.
        """
        folder = self._get_replacement(arn) if of_replacement else self.get_folder(arn)
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()

    def open_artifact(self, arn: str) -> Path:
        """Compare the artifact's files with the manifest and return its folder. Raises ArtifactDamaged."""
        while True:
            digest = self._find_digest(arn)
            try:
                return self._check_artifact(arn)
            except ArtifactDamaged:
                # A replacement that was swapped in while the files were read looks like damage.
                if self._find_digest(arn) == digest:
                    raise

    def _find_digest(self, arn: str) -> str | None:
        try:
            return self.compute_digest(arn)
        except OSError:
            return None

    def _check_artifact(self, arn: str) -> Path:
        folder = self.get_folder(arn)
        try:
            manifest = orjson.loads((folder / MANIFEST).read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise ArtifactDamaged(f"The artifact of {arn} is missing or has no readable manifest.") from error
        for name, written in manifest.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != written["bytes"]:
                raise ArtifactDamaged(f"The file {name} of the artifact of {arn} is missing or cut short.")
            if self.compute_checksum(path) != written["sha256"]:
                raise ArtifactDamaged(f"The file {name} of the artifact of {arn} differs from its manifest.")
        return folder

    def discard_artifact(self, arn: str) -> None:
        """Remove the artifact, live events, workspace and drafts of ``arn``, if there are any."""
        shutil.rmtree(self.get_folder(arn), ignore_errors=True)
        shutil.rmtree(self.get_live_folder(arn), ignore_errors=True)
        self.discard_workspace(arn)
        self.discard_drafts(arn)

    def discard_drafts(self, arn: str) -> None:
        """Remove what unfinished artifacts of ``arn`` have left."""
        for draft in (self._root / "drafts").glob(f"{_encode_arn(arn)}.*"):
            shutil.rmtree(draft, ignore_errors=True)

    def discard_workspace(self, arn: str) -> None:
        shutil.rmtree(self.get_workspace(arn), ignore_errors=True)

    def compute_checksum(self, path: Path) -> str:
        """Return the SHA-256 of a file in hexadecimal digits."""
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                self._on_block()
        return digest.hexdigest()

    def _write_manifest(self, folder: Path) -> None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            sync_to_disk(path)
            self._on_block()
        written = {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": self.compute_checksum(path)}
            for path in files
        }
        (folder / MANIFEST).write_bytes(orjson.dumps(written, option=orjson.OPT_INDENT_2))
        sync_to_disk(folder / MANIFEST)
        sync_to_disk(folder)


def _encode_arn(arn: str) -> str:
    return quote(arn, safe="")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it has its earlier content or all of the new one, even after a power failure."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    sync_to_disk(draft)
    draft.replace(path)
    sync_to_disk(path.parent)


def sync_to_disk(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
