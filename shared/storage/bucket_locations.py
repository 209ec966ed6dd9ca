"""``s3://`` locations, the files that a job reads of a folder, and the texts of their errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

# AWS's texts; messages continue with a remedy.
INVALID = "Invalid Data location."
FORBIDDEN = "Insufficient privileges for accessing data in Amazon S3."


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


@dataclass(frozen=True, kw_only=True)
class Location:
    text: str
    bucket: str
    key: str


def parse_location(location: str) -> Location:
    found = re.fullmatch(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,62})(?:/(.*))?", location, flags=re.DOTALL)
    # JSON can hold half of a surrogate pair, which is impossible in file names and S3 keys.
    if found is None or location != location.encode(errors="replace").decode():
        raise BucketError(f"{INVALID} Give {format_text(location)} in the form s3://bucket/key.")
    return Location(text=location, bucket=found[1], key=found[2] or "")


def filter_names(names: Iterable[str], selection: FileSelection, skipped: Callable[[str], None]) -> Iterator[str]:
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


def describe_empty_folder(place: Location, selection: FileSelection) -> str:
    where = "it" if selection.recursive else "its first level"
    not_read = "names" if selection.recursive else "sub-folders, names"
    return (
        f"{INVALID} The folder {format_text(place.text)} holds no files. Put {selection.noun} into {where}; "
        f"{not_read} that begin with _ or ., and files that hold no data (README.md) are not read."
    )


def format_text(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 200 else f"{shown[:197]}..."
