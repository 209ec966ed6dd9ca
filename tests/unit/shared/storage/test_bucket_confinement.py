"""Folders as buckets: no key, link or swapped file leads out of a bucket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.storage.bucket_locations import BucketError
from shared.storage.folder_buckets import FolderBuckets
from tests.unit.shared.storage.bucket_files import INVALID, fetched, refusal

CLIMBING = [
    "s3://films/../secret.csv", "s3://films/../../secret.csv", "s3://films/2024/../../../secret.csv",
    "s3://films/./interactions.csv", "s3://films/..", "s3://films/2024/..", "s3://films/2024/../",
    "s3://films//etc/passwd", "s3://films//", "s3://films/2024//a.csv", "s3:///etc/passwd", "s3://../secret.csv",
    "s3://./films/interactions.csv", "s3://..", "s3://", "s3:/films/interactions.csv", "films/interactions.csv",
    "file:///etc/passwd", "/etc/passwd", "", "S3://films/interactions.csv", "https://films/interactions.csv",
    "s3://films\\..\\secret.csv", "s3://films/..\\..\\secret.csv", "s3://films/\\etc\\passwd",
    "s3://films/interactions.csv\0", "s3://films/\0", "s3://films\0/x", "s3://films/interactions.csv\0.txt",
    "s3://films/%2e%2e/secret.csv", "s3://films/%2e%2e%2fsecret.csv", "s3://films/..%2fsecret.csv",
    "s3://films/%252e%252e/secret.csv", "s3://%2e%2e/secret.csv", "s3://films/\uff0e\uff0e/secret.csv",
    "s3://films/..\u2215secret.csv", "s3://films/\ud800", "s3://films/\udcff.csv", "s3://films/~/x", "s3://films/*",
    "s3://films/2024/[ab].csv", "s3://films@host/interactions.csv", "s3://-films/x", "s3://fil ms/x",
    "s3://films\n/interactions.csv", "s3://films/interactions.csv\n", "s3://" + "a" * 64 + "/x",
    "s3://films/" + "x" * 300, "s3://films/" + "x/" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("location", CLIMBING)
def test_nothing_is_reached_by_a_key_that_climbs(buckets: FolderBuckets, location: str) -> None:
    message = refusal(buckets, location)
    assert message.startswith(INVALID)
    assert len(message) < 500
    assert message.isprintable()


PARTS = st.sampled_from(
    ["..", ".", "", "films", "2024", "a.csv", "s3", "secret.csv", "%2e%2e", "\\", "out", "loop", "~", "\0", "é"]
)


@given(names=st.lists(PARTS, max_size=6), slash=st.booleans())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_whatever_the_key_only_the_bucket_is_read(root: Path, names: list[str], slash: bool) -> None:
    for link, to in (("out", "../.."), ("loop", "loop")):
        if not (root / "films" / link).is_symlink():
            (root / "films" / link).symlink_to(to)
    location = "s3://films/" + "/".join(names) + "/" * slash
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            FolderBuckets(root, {}).fetch_files(location, Path(folder)) as files,
        ):
            assert all(file.resolve().is_relative_to(root / "films") for file in files)
    except BucketError:
        return


@pytest.mark.parametrize("target", ["../../secret.csv", "{tmp}/secret.csv", "/etc/passwd", "../loose.csv"])
def test_a_link_to_outside_is_refused(buckets: FolderBuckets, root: Path, tmp_path: Path, target: str) -> None:
    (root / "films" / "link.csv").symlink_to(target.format(tmp=tmp_path))
    message = refusal(buckets, "s3://films/link.csv")
    assert message.startswith(f"{INVALID} s3://films/link.csv leads out of its bucket through a symbolic link.")
    assert str(tmp_path) not in message


def test_a_linked_folder_a_linked_file_in_a_folder_and_a_linked_bucket_are_refused(
    buckets: FolderBuckets, root: Path, tmp_path: Path
) -> None:
    (root / "films" / "up").symlink_to("../..")
    (root / "films" / "2024" / "z.csv").symlink_to("../../../secret.csv")
    (root / "outside").symlink_to(tmp_path)
    for location in ("s3://films/up/secret.csv", "s3://films/up/", "s3://films/2024/", "s3://outside/secret.csv"):
        assert "leads out of its bucket through a symbolic link" in refusal(buckets, location)


def test_a_folder_with_the_bucket_as_beginning_of_its_name_is_outside(buckets: FolderBuckets, root: Path) -> None:
    (root / "films-private").mkdir()
    (root / "films-private" / "x.csv").write_text("private")
    (root / "films" / "x.csv").symlink_to("../films-private/x.csv")
    assert "leads out of its bucket" in refusal(buckets, "s3://films/x.csv")


def test_a_link_within_the_bucket_is_followed_to_the_real_file(buckets: FolderBuckets, root: Path) -> None:
    (root / "films" / "latest.csv").symlink_to("2024/a.csv")
    assert fetched(buckets, "s3://films/latest.csv", root) == [("a.csv", "a.csv")]


class Swapping(FolderBuckets):
    """Somebody puts ``place`` aside and something else there, between what is checked and what is opened."""

    def __init__(self, root: Path, place: Path, instead: Callable[[Path], None]) -> None:
        super().__init__(root, {})
        self._swap: Callable[[], None] | None = lambda: (place.rename(root / "aside"), instead(place))[1]

    def _open_files(self, *args: Any) -> list[Path]:
        resolve, swap = Path.resolve, self._swap
        looked: list[Path] = []

        def resolve_and_swap(path: Path, *, strict: bool = False) -> Path:
            real = resolve(path, strict=strict)
            looked.append(real)
            if swap and len(looked) == 3:  # the root, the bucket, what the key names
                swap()
            return real

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Path, "resolve", resolve_and_swap)
            return super()._open_files(*args)


@pytest.mark.parametrize("name", ["interactions.csv", "2024/a.csv"])
def test_a_link_that_takes_the_place_of_a_checked_file_is_not_followed(root: Path, name: str) -> None:
    buckets = Swapping(root, root / "films" / name, lambda place: place.symlink_to(root.parent / "secret.csv"))
    message = refusal(buckets, f"s3://films/{name}", root)
    assert message.startswith(INVALID)
    assert "became a symbolic link while it was opened" in message


def test_a_link_that_takes_the_place_of_a_folder_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("secret")
    buckets = Swapping(root, root / "films" / "2024", lambda place: place.symlink_to(tmp_path))
    message = refusal(buckets, "s3://films/2024/a.csv", root)
    assert "2024 in s3://films/2024/a.csv became a symbolic link" in message


def test_a_pipe_that_takes_the_place_of_a_checked_file_holds_nobody(root: Path) -> None:
    buckets = Swapping(root, root / "films" / "interactions.csv", os.mkfifo)
    assert "is not a file." in refusal(buckets, "s3://films/interactions.csv", root)


@pytest.mark.parametrize("linux", [True, False])
def test_what_takes_the_place_of_an_opened_file_is_not_read(
    buckets: FolderBuckets, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, linux: bool
) -> None:
    if not linux:
        monkeypatch.setattr("shared.storage.folder_buckets._DESCRIPTORS", tmp_path / "nothing")
    place = root / "films" / "interactions.csv"
    with buckets.fetch_files("s3://films/interactions.csv", tmp_path / "into") as [file]:
        place.unlink()
        os.mkfifo(place)
        # Looked over first, then read by DuckDB: each finds the whole of what was checked.
        assert file.read_text() == "USER_ID\n1\n"
        rows = duckdb.execute(f"SELECT * FROM read_csv('{file}', header = true)").fetchall()
        assert rows == [(1,)]


def test_a_loop_of_links_is_refused(buckets: FolderBuckets, root: Path) -> None:
    (root / "films" / "loop").symlink_to("loop")
    assert refusal(buckets, "s3://films/loop").startswith(INVALID)


def test_writing_stays_in_the_bucket(buckets: FolderBuckets, root: Path, tmp_path: Path) -> None:
    (root / "films" / "up").symlink_to("../..")
    (root / "films" / "link.csv").symlink_to("../../secret.csv")
    for location in ("s3://films/up/made/x.csv", "s3://films/up/x.csv", "s3://films/../x.csv", "s3://films/\0"):
        with pytest.raises(BucketError, match="Invalid Data location"):
            buckets.write_file(location, tmp_path / "secret.csv")
    (tmp_path / "new").write_text("new")
    buckets.write_file("s3://films/link.csv", tmp_path / "new")
    assert (tmp_path / "secret.csv").read_text() == "secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "s3", "secret.csv"]
