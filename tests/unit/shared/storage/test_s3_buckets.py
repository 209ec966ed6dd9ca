"""S3 as buckets, at a moto server: objects, folders of objects, and failure reasons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from shared.storage.bucket_locations import CSV_TREE, BucketError
from shared.storage.s3_buckets import S3Buckets
from tests.unit.shared.storage.bucket_files import FORBIDDEN, INVALID, fetched, refusal


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
    with s3.fetch_files(f"s3://films/{key}", inner) as [file]:
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
    s3.write_file("s3://empty/exports/out.csv", tmp_path / "out.csv")
    assert fetched(s3, "s3://empty/exports/out.csv", tmp_path) == [("out.csv", "out")]
    with pytest.raises(BucketError, match="There is no bucket books"):
        s3.write_file("s3://books/out.csv", tmp_path / "out.csv")
    with pytest.raises(BucketError, match="names no file"):
        s3.write_file("s3://empty/exports/", tmp_path / "out.csv")
    boto3.client("s3", endpoint_url=s3._endpoint_url).delete_object(Bucket="empty", Key="exports/out.csv")


def test_a_bucket_that_can_be_written_is_known_before_and_nothing_is_left(s3: S3Buckets) -> None:
    for location in ("s3://empty", "s3://empty/out/"):
        s3.check_writable(location)
    client = boto3.client("s3", endpoint_url=s3._endpoint_url)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="empty")
    with pytest.raises(BucketError, match="There is no bucket books"):
        s3.check_writable("s3://books/out")


def test_a_tree_of_objects_is_read(s3: S3Buckets, tmp_path: Path) -> None:
    client = boto3.client("s3", endpoint_url=s3._endpoint_url)
    keys = ["tree/1.csv", "tree/b/", "tree/b/2.csv", "tree/b/_mark/3.csv", "tree/b/README.md"]
    for key in keys:
        client.put_object(Bucket="empty", Key=key, Body=key.encode())
    found = fetched(s3, "s3://empty/tree/", tmp_path, selection=CSV_TREE)
    assert found == [("1.csv", "tree/1.csv"), ("2.csv", "tree/b/2.csv")]
    for key in keys:
        client.delete_object(Bucket="empty", Key=key)


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
    assert message.startswith(f"{FORBIDDEN} Give the worker credentials")


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

    monkeypatch.setattr(s3, "_create_client", Slow)
    assert "S3 answered SlowDown for s3://films/x.csv." in refusal(s3, "s3://films/x.csv", tmp_path)
