"""Folders and S3 as buckets: what is found, what is refused and in whose words, and what can never be reached."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from shared.settings import Settings, SettingsError
from shared.storage.buckets import BucketError, Buckets, FolderBuckets, S3Buckets, open_buckets

INVALID = "Invalid Data location."
FORBIDDEN = "Insufficient privileges for accessing data in Amazon S3."


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


def fetched(
    buckets: Buckets, location: str, into: Path, skipped: Callable[[str], None] = lambda _: None
) -> list[tuple[str, str]]:
    """Name and content of each file."""
    with (
        tempfile.TemporaryDirectory(dir=into) as folder,
        buckets.fetch(location, Path(folder), skipped=skipped) as files,
    ):
        assert all(file.is_relative_to(folder) for file in files)
        return [(file.name, file.read_text()) for file in files]


def refusal(buckets: Buckets, location: str, into: Path = Path("/nonexistent")) -> str:
    with pytest.raises(BucketError) as caught, buckets.fetch(location, into):
        pass
    return str(caught.value)


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
            FolderBuckets(root, {}).fetch(location, Path(folder)) as files,
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

    def _fetched(self, *args: Any) -> list[Path]:
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
            return super()._fetched(*args)


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
        monkeypatch.setattr("shared.storage.buckets._DESCRIPTORS", tmp_path / "nothing")
    place = root / "films" / "interactions.csv"
    with buckets.fetch("s3://films/interactions.csv", tmp_path / "into") as [file]:
        place.unlink()
        os.mkfifo(place)
        # Looked over first, then read by DuckDB: each finds the whole of what was checked.
        assert file.read_text() == "USER_ID\n1\n"
        rows = duckdb.execute(f"SELECT * FROM read_csv('{file}', header = true)").fetchall()
        assert rows == [(1,)]


def test_a_loop_of_links_is_refused(buckets: FolderBuckets, root: Path) -> None:
    (root / "films" / "loop").symlink_to("loop")
    assert refusal(buckets, "s3://films/loop").startswith(INVALID)


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
    assert message == f"{FORBIDDEN} Let the user that the importing worker runs as access {location}."


def test_writing_replaces_a_file_whole_and_makes_its_folders(buckets: FolderBuckets, root: Path) -> None:
    source = root / "source"
    for content in ("one", "two"):
        source.write_text(content)
        buckets.write("s3://films/exports/today/out.csv", source)
        assert fetched(buckets, "s3://films/exports/today/", root) == [("out.csv", content)]
        assert [path.name for path in (root / "films" / "exports" / "today").iterdir()] == ["out.csv"]


def test_writing_stays_in_the_bucket(buckets: FolderBuckets, root: Path, tmp_path: Path) -> None:
    (root / "films" / "up").symlink_to("../..")
    (root / "films" / "link.csv").symlink_to("../../secret.csv")
    for location in ("s3://films/up/made/x.csv", "s3://films/up/x.csv", "s3://films/../x.csv", "s3://films/\0"):
        with pytest.raises(BucketError, match="Invalid Data location"):
            buckets.write(location, tmp_path / "secret.csv")
    (tmp_path / "new").write_text("new")
    buckets.write("s3://films/link.csv", tmp_path / "new")
    assert (tmp_path / "secret.csv").read_text() == "secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "s3", "secret.csv"]


@pytest.mark.parametrize("location", ["s3://films", "s3://films/", "s3://films/exports/"])
def test_writing_needs_the_name_of_a_file(buckets: FolderBuckets, root: Path, location: str) -> None:
    with pytest.raises(BucketError, match="names no file"):
        buckets.write(location, root / "loose.csv")


def test_a_mounted_bucket_is_never_written(root: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    with pytest.raises(BucketError, match="is mounted read-only"):
        FolderBuckets(root, {"films": mounted}).write("s3://films/x.csv", root / "loose.csv")
    assert list(mounted.iterdir()) == []


def test_a_write_that_fails_leaves_nothing(buckets: FolderBuckets, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BucketError, match="No space left on device"):
        buckets.write("s3://films/empty/x.csv", root / "loose.csv")
    assert list((root / "films" / "empty").iterdir()) == []


def test_the_settings_choose_the_storage(root: Path) -> None:
    folder = open_buckets(Settings(s3_folder=root))
    assert fetched(folder, "s3://films/interactions.csv", root)
    assert isinstance(open_buckets(Settings(storage="s3")), S3Buckets)
    with pytest.raises(SettingsError, match="FORETASTE_STORAGE is 'gcs'; it must be 'folder' or 's3'"):
        open_buckets(Settings(storage="gcs"))


# S3


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Buckets:
    """Buckets at a moto server: films as in the folder storage, empty without objects."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3", endpoint_url=endpoint)
    for bucket in ("films", "empty"):
        client.create_bucket(Bucket=bucket)
    for key in (
        "interactions.csv", "2024/", "2024/b.csv", "2024/a.csv", "2024/_SUCCESS", "2024/deeper/c.csv", "marked/",
        "2024/README.md", "odd/.hidden",
        "odd/" + "é" * 100 + ".csv", "only/inner/x.csv", "..", "up/..", "../../../climbed.csv",
    ):  # fmt: skip
        client.put_object(Bucket="films", Key=key, Body=key.encode())
    return S3Buckets(endpoint)


def test_an_object_is_downloaded(s3: S3Buckets, tmp_path: Path) -> None:
    assert fetched(s3, "s3://films/interactions.csv", tmp_path) == [("interactions.csv", "interactions.csv")]


@pytest.mark.parametrize("location", ["s3://films/2024", "s3://films/2024/"])
def test_a_folder_of_objects_is_its_first_level_without_marks(s3: S3Buckets, tmp_path: Path, location: str) -> None:
    told: list[str] = []
    assert fetched(s3, location, tmp_path, told.append) == [("a.csv", "2024/a.csv"), ("b.csv", "2024/b.csv")]
    assert told == ["README.md"]


@pytest.mark.parametrize("key", ["..", "up/..", "../../../climbed.csv", "odd/" + "é" * 100 + ".csv"])
def test_an_object_lands_in_the_folder_whatever_its_key(s3: S3Buckets, tmp_path: Path, key: str) -> None:
    inner = tmp_path / "a" / "b"
    with s3.fetch(f"s3://films/{key}", inner) as [file]:
        assert file.resolve().is_relative_to(inner)
        assert file.read_text() == key


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("s3://films/missing.csv", "There is nothing at s3://films/missing.csv."),
        ("s3://films/marked/", "The folder s3://films/marked/ holds no files."),
        ("s3://films/marked", "The folder s3://films/marked holds no files."),
        ("s3://films/missing/", "The folder s3://films/missing/ holds no files."),
        ("s3://films/only/", "The folder s3://films/only/ holds no files."),
        ("s3://empty", "The folder s3://empty holds no files."),
        ("s3://books/interactions.csv", "There is no bucket books."),
        ("s3://books", "There is no bucket books."),
        ("http://films/x", "in the form s3://bucket/key"),
    ],
)
def test_what_is_not_there_is_an_invalid_location(s3: S3Buckets, tmp_path: Path, location: str, message: str) -> None:
    refused = refusal(s3, location, tmp_path)
    assert refused.startswith(INVALID)
    assert message in refused


def test_objects_are_written(s3: S3Buckets, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("out")
    s3.write("s3://empty/exports/out.csv", tmp_path / "out.csv")
    assert fetched(s3, "s3://empty/exports/out.csv", tmp_path) == [("out.csv", "out")]
    with pytest.raises(BucketError, match="There is no bucket books"):
        s3.write("s3://books/out.csv", tmp_path / "out.csv")
    with pytest.raises(BucketError, match="names no file"):
        s3.write("s3://empty/exports/", tmp_path / "out.csv")
    boto3.client("s3", endpoint_url=s3._endpoint_url).delete_object(Bucket="empty", Key="exports/out.csv")


def test_no_access_to_an_object_is_a_matter_of_privileges(
    s3: S3Buckets, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # moto checks its bucket policies: this one denies reading the objects of films to everybody.
    client = boto3.client("s3", endpoint_url=endpoint)
    client.put_bucket_policy(
        Bucket="films",
        Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        '"Action": "s3:GetObject", "Resource": "arn:aws:s3:::films/*"}]}',
    )
    try:
        message = refusal(s3, "s3://films/interactions.csv", tmp_path)
    finally:
        client.delete_bucket_policy(Bucket="films")
    assert message.startswith(FORBIDDEN)
    assert "Allow s3:GetObject and s3:ListBucket" in message


def test_no_credentials_is_a_matter_of_privileges(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    message = refusal(S3Buckets(endpoint), "s3://films/interactions.csv", tmp_path)
    assert message.startswith(f"{FORBIDDEN} Give the importing worker credentials")


def test_an_endpoint_that_does_not_answer_is_named_as_the_cause(
    s3: S3Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refusal(S3Buckets("http://127.0.0.1:9"), "s3://films/interactions.csv", tmp_path)
    assert "S3 did not answer for s3://films/interactions.csv" in refused
    assert "FORETASTE_S3_ENDPOINT_URL" in refused


def test_an_unexpected_answer_is_passed_on(s3: S3Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def head_object(self, **_: Any) -> None:
            raise ClientError(
                {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "HeadObject"
            )

    monkeypatch.setattr(s3, "_client", Slow)
    assert "S3 answered SlowDown for s3://films/x.csv." in refusal(s3, "s3://films/x.csv", tmp_path)
