"""Folders as buckets: the files that are found and written, and the reasons of refusals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings, SettingsError
from shared.storage.bucket_locations import CSV_TREE, JSON_LINES_FILES, BucketError
from shared.storage.buckets import open_buckets
from shared.storage.folder_buckets import FolderBuckets
from shared.storage.s3_buckets import S3Buckets
from tests.unit.shared.storage.bucket_files import FORBIDDEN, INVALID, fetched, refusal


def test_it_works(buckets: FolderBuckets, root: Path) -> None:
    assert fetched(buckets, "s3://films/interactions.csv", root) == [("interactions.csv", "USER_ID\n1\n")]


@pytest.mark.parametrize("location", ["s3://films/2024", "s3://films/2024/"])
def test_a_folder_is_its_first_level_without_marks(buckets: FolderBuckets, root: Path, location: str) -> None:
    assert fetched(buckets, location, root) == [(name, name) for name in ("a.csv", "b.csv")]


BESIDE = ("README", "Readme.txt", "LICENSE", "a.csv.metadata", "notes.md", "schema.JSON", "a.manifest", "import.log")
#: What may be data, of whatever kind, is never passed over: it is read, or refused by name.
DATA = ("a.CSV", "a.csv.gz", "a.parquet", "a.txt", "part-00000", "part-00000.csv", "readme-interactions.csv", "x.tsv")


def test_what_stands_beside_data_is_passed_over_by_name_and_told(buckets: FolderBuckets, root: Path) -> None:
    folder = root / "films" / "exported"
    folder.mkdir()
    for name in (*BESIDE, *DATA):
        (folder / name).write_text("x")
    told: list[str] = []
    assert [name for name, _ in fetched(buckets, "s3://films/exported/", root, told.append)] == sorted(DATA)
    assert told == sorted(BESIDE)
    assert fetched(buckets, "s3://films/exported/README", root) == [("README", "x")]


def test_a_folder_of_notes_alone_holds_no_files(buckets: FolderBuckets, root: Path) -> None:
    (root / "films" / "empty" / "README.md").write_text("x")
    assert "holds no files" in refusal(buckets, "s3://films/empty/")


@pytest.mark.parametrize("location", ["s3://films", "s3://films/"])
def test_a_bucket_is_a_folder_too(buckets: FolderBuckets, root: Path, location: str) -> None:
    assert fetched(buckets, location, root) == [("interactions.csv", "USER_ID\n1\n")]


def test_a_mounted_folder_is_a_bucket_and_wins_over_a_sub_folder(root: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "elsewhere"
    mounted.mkdir()
    (mounted / "interactions.csv").write_text("mounted")
    buckets = FolderBuckets(root, {"films": mounted, "My_Data": mounted})
    for bucket in ("films", "My_Data"):
        assert fetched(buckets, f"s3://{bucket}/interactions.csv", root) == [("interactions.csv", "mounted")]


def test_a_missing_key_says_so(buckets: FolderBuckets) -> None:
    message = refusal(buckets, "s3://films/Interactions.csv")
    assert message == (
        f"{INVALID} There is nothing at s3://films/Interactions.csv. Check the key; it is case-sensitive."
    )


def test_a_missing_bucket_says_how_to_make_one(buckets: FolderBuckets) -> None:
    message = refusal(buckets, "s3://books/interactions.csv")
    assert message.startswith(f"{INVALID} There is no bucket books. Make a folder of this name")
    assert "--bucket books=PATH" in message


def test_a_file_in_place_of_a_bucket_is_no_bucket(buckets: FolderBuckets) -> None:
    assert "There is no bucket loose.csv." in refusal(buckets, "s3://loose.csv/")


def test_a_mount_that_is_gone_is_no_bucket(root: Path) -> None:
    buckets = FolderBuckets(root, {"gone": root / "gone"})
    assert "There is no bucket gone." in refusal(buckets, "s3://gone/x.csv")


@pytest.mark.parametrize("folder", ["empty", "only folders"])
def test_a_folder_without_files_says_what_is_read(buckets: FolderBuckets, folder: str) -> None:
    assert refusal(buckets, f"s3://films/{folder}/").startswith(
        f"{INVALID} The folder s3://films/{folder}/ holds no files. Put CSV files into its first level;"
    )


def test_a_file_is_not_a_folder(buckets: FolderBuckets) -> None:
    assert "is a file. Leave out the / at its end." in refusal(buckets, "s3://films/interactions.csv/")
    assert "goes through a file as if it were a folder" in refusal(buckets, "s3://films/interactions.csv/x.csv")


@pytest.mark.parametrize("asked", ["s3://films/pipe.csv", "s3://films/pipes/"])
def test_a_named_pipe_does_not_hold_the_job(buckets: FolderBuckets, root: Path, asked: str) -> None:
    (root / "films" / "pipes").mkdir()
    for pipe in ("pipe.csv", "pipes/pipe.csv"):
        os.mkfifo(root / "films" / pipe)
    assert "is not a file." in refusal(buckets, asked)


@pytest.mark.parametrize("call", ["open", "scandir", "readlink"])
def test_a_file_that_the_worker_may_not_read_is_a_matter_of_privileges(
    buckets: FolderBuckets, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    # Permission bits do not stop root, so the edge to the system is made to refuse.
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", args[0])

    location = "s3://films/2024/"
    if call == "readlink":
        (root / "films" / "link.csv").symlink_to("2024/a.csv")
        location = "s3://films/link.csv"
    monkeypatch.setattr(os, call, refuse)
    message = refusal(buckets, location)
    monkeypatch.undo()
    assert message == f"{FORBIDDEN} Let the user that the worker runs as access {location}."


def test_a_tree_is_read_with_its_sub_folders_and_json_lines_beside_documents(
    buckets: FolderBuckets, root: Path, tmp_path: Path
) -> None:
    tree = root / "films" / "tree"
    for name in ("b/c/2.csv", "b/_temporary/3.csv", "b/README.md", "1.csv", "lines.jsonl", "lines.json", "notes.md"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "4.csv").write_text("4")
    (tree / "link").symlink_to(elsewhere)
    skipped: list[str] = []
    found = fetched(buckets, "s3://films/tree", root, skipped.append, CSV_TREE)
    assert found == [("1.csv", "1.csv"), ("2.csv", "b/c/2.csv")]
    assert sorted(skipped) == ["b/README.md", "lines.json", "lines.jsonl", "notes.md"]
    found = fetched(buckets, "s3://films/tree", root, selection=JSON_LINES_FILES)
    assert [name for name, _ in found] == ["1.csv", "lines.json", "lines.jsonl"]


def test_writing_replaces_a_file_whole_and_makes_its_folders(buckets: FolderBuckets, root: Path) -> None:
    source = root / "source"
    for content in ("one", "two"):
        source.write_text(content)
        buckets.write_file("s3://films/exports/today/out.csv", source)
        assert fetched(buckets, "s3://films/exports/today/", root) == [("out.csv", content)]
        assert [path.name for path in (root / "films" / "exports" / "today").iterdir()] == ["out.csv"]


@pytest.mark.parametrize("location", ["s3://films", "s3://films/", "s3://films/exports/"])
def test_writing_needs_the_name_of_a_file(buckets: FolderBuckets, root: Path, location: str) -> None:
    with pytest.raises(BucketError, match="names no file"):
        buckets.write_file(location, root / "loose.csv")


def test_writing_below_a_file_is_refused_as_reading_is(buckets: FolderBuckets, root: Path) -> None:
    with pytest.raises(BucketError, match="goes through a file as if it were a folder"):
        buckets.write_file("s3://films/interactions.csv/x.csv", root / "loose.csv")


def test_a_mounted_bucket_is_never_written(root: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    with pytest.raises(BucketError, match="is mounted read-only"):
        FolderBuckets(root, {"films": mounted}).write_file("s3://films/x.csv", root / "loose.csv")
    assert list(mounted.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_known_before(buckets: FolderBuckets, root: Path, tmp_path: Path) -> None:
    before = sorted(root.rglob("*"))
    for location in ("s3://films", "s3://films/empty/", "s3://films/new/deep"):
        buckets.check_writable(location)
    assert sorted(root.rglob("*")) == before
    for location, message in {
        "s3://books/out": "There is no bucket books",
        "s3://films/interactions.csv/": "as if it were a folder",
        "s3://films/../x": "an empty part",
        "http://films": "in the form s3://bucket/key",
    }.items():
        with pytest.raises(BucketError, match=message):
            buckets.check_writable(location)
    with pytest.raises(BucketError, match="is mounted read-only"):
        FolderBuckets(root, {"films": tmp_path}).check_writable("s3://films/out")


def test_a_folder_of_another_user_is_refused(buckets: FolderBuckets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, which may write anywhere
    with pytest.raises(BucketError, match="Insufficient privileges"):
        buckets.check_writable("s3://films/empty/out")


def test_a_write_that_fails_leaves_nothing(buckets: FolderBuckets, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BucketError, match="No space left on device"):
        buckets.write_file("s3://films/empty/x.csv", root / "loose.csv")
    assert list((root / "films" / "empty").iterdir()) == []


def test_the_settings_choose_the_storage(root: Path) -> None:
    folder = open_buckets(Settings(s3_folder=root))
    assert fetched(folder, "s3://films/interactions.csv", root)
    assert isinstance(open_buckets(Settings(storage="s3")), S3Buckets)
    with pytest.raises(SettingsError, match="FORETASTE_STORAGE is 'gcs'; it must be 'folder' or 's3'"):
        open_buckets(Settings(storage="gcs"))
