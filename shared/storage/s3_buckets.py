"""Buckets of S3, or of any server that speaks its API."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

#: The bytes of an object's name that its copy keeps: file systems take 255.
_MOST_NAME_BYTES = 200


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
        place = parse_location(location)
        client = self._create_client()
        with _convert_s3_errors(place):
            is_object = bool(place.key) and not place.key.endswith("/") and _has_object(client, place)
            keys = [place.key] if is_object else _list_folder_keys(client, place, selection, skipped)
            files = [_download_object(client, place.bucket, key, into / str(n), on_block) for n, key in enumerate(keys)]
        yield files

    def write_file(self, location: str, path: Path, on_block: Callable[[], object] = lambda: None) -> None:
        """See Buckets.write_file."""
        place = parse_location(location)
        if not place.key or place.key.endswith("/"):
            raise BucketError(f"{INVALID} {format_text(location)} names no file. Add a file's name to it.")
        with _convert_s3_errors(place):
            self._create_client().upload_file(str(path), place.bucket, place.key, Callback=lambda _bytes: on_block())

    def check_writable(self, location: str) -> None:
        """See Buckets.check_writable. An upload is begun and aborted, which asks for the right to write alone."""
        place = parse_location(location)
        folder = f"{place.key.rstrip('/')}/" if place.key else ""
        target = {"Bucket": place.bucket, "Key": f"{folder}.foretaste-check"}
        with _convert_s3_errors(place):
            client = self._create_client()
            upload = client.create_multipart_upload(**target)["UploadId"]
            client.abort_multipart_upload(**target, UploadId=upload)

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
def _convert_s3_errors(place: Location) -> Iterator[None]:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise BucketError(
            f"{FORBIDDEN} Give the worker credentials, for example AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from error
    except (ClientError, S3UploadFailedError) as error:
        # For a failed upload boto3 raises an error of its own, with the ClientError as its context.
        cause = error if isinstance(error, ClientError) else error.__context__
        raise BucketError(_describe_s3_error(place, cause)) from error
    except BotoCoreError as error:
        raise BucketError(
            f"{INVALID} S3 did not answer for {format_text(place.text)} ({type(error).__name__}). Check "
            "FORETASTE_S3_ENDPOINT_URL and the Region, then create a new job."
        ) from error


def _describe_s3_error(place: Location, error: BaseException | None) -> str:
    answer = getattr(error, "response", {})
    code = answer.get("Error", {}).get("Code", "")
    if answer.get("ResponseMetadata", {}).get("HTTPStatusCode") in (401, 403):
        return (
            f"{FORBIDDEN} S3 answered {code} for {format_text(place.text)}. Allow s3:GetObject and s3:ListBucket "
            "(s3:PutObject for exports) to the credentials of the worker."
        )
    if code == "NoSuchBucket":
        return f"{INVALID} There is no bucket {place.bucket}. Check its name, Region and endpoint."
    return f"{INVALID} S3 answered {code or 'an error'} for {format_text(place.text)}. Check the location."


def _has_object(client: Any, place: Location) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_object(Bucket=place.bucket, Key=place.key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


def _list_folder_keys(
    client: Any, place: Location, selection: FileSelection, skipped: Callable[[str], None]
) -> list[str]:
    prefix = f"{place.key.removesuffix('/')}/" if place.key else ""
    levels = {} if selection.recursive else {"Delimiter": "/"}
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix, **levels)
    found = [each["Key"] for page in pages for each in page.get("Contents", [])]
    # AWS's console marks a folder by a key that is the prefix itself.
    names = sorted(key.removeprefix(prefix) for key in found if not key.endswith("/"))
    keys = [f"{prefix}{name}" for name in filter_names(names, selection, skipped)]
    if not keys:
        if place.key.endswith("/") or not place.key or found:
            raise BucketError(describe_empty_folder(place, selection))
        raise BucketError(
            f"{INVALID} There is nothing at {format_text(place.text)}. Check the key; it is case-sensitive."
        )
    return keys


def _download_object(client: Any, bucket: str, key: str, folder: Path, on_block: Callable[[], object]) -> Path:
    # The name serves messages and the names of results: characters of paths are replaced, and long names cut.
    safe = re.sub(r"[\x00-\x1f/\\]", "_", key.rpartition("/")[2]).encode(errors="replace")
    name = safe[-_MOST_NAME_BYTES:].decode(errors="ignore").lstrip(".") or "object"
    folder.mkdir(parents=True)
    client.download_file(bucket, key, str(folder / name), Callback=lambda _bytes: on_block())
    return folder / name
