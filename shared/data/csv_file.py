"""One CSV file on its way in: what it is, its header, and which line a row stands on. DuckDB reads the rows.

DuckDB reads neither values that mix doubled quotes with backslash escapes nor files that mix line endings, and
numbers rows, not lines. So a file is looked over once at the speed of memory, written anew only when it holds
one of these, and walked line by line only when the line of a bad row is asked for.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_RECORD_BYTES = 2_000_000
_BLOCK_BYTES = 1 << 22

_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": "compressed with gzip. Unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook. Save it as CSV",
    b"PAR1": "a Parquet file. Save it as CSV",
    b"\xff\xfe": "encoded in UTF-16. Save it as UTF-8",
    b"\xfe\xff": "encoded in UTF-16. Save it as UTF-8",
}

# A quoted value begins with the cell, perhaps after spaces; a quote further on is a letter like any other.
_OPENING = re.compile(rb'(?:^|,) *"')
_CLOSING = re.compile(rb'(?:[^"]|"")*+"')
_CLOSING_WITH_BACKSLASH = re.compile(rb'(?:[^"\\]|\\.|"")*+"', re.DOTALL)
_QUOTED_WITH_BACKSLASH = re.compile(rb'((?:^|,) *")((?:[^"\\]|\\.|"")*+)"', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')


class CsvError(ValueError):
    """A file that is no CSV as a whole; the message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """A file that DuckDB can read: comma, double quote doubled inside quotes, one kind of line ending."""

    name: str
    path: Path
    header: tuple[str, ...]
    lines: int
    has_nul: bool


def prepare(path: Path, workspace: Path) -> CsvFile:
    """Look a file over; below `workspace` it is written anew where DuckDB could not read it as it is.

    Inside quotes a backslash makes a quote or a backslash a letter, as doubling makes a quote; before anything
    else, and outside quotes, it is a letter itself. Raises CsvError, and OSError of the file system.
    """
    marks = _look_over(path)
    if marks.has_backslash or marks.mixes_line_endings:
        path = _written_anew(path, workspace)
    return CsvFile(
        name=path.name,
        path=path,
        header=_header(path),
        lines=marks.lines,
        has_nul=marks.has_nul,
    )


@dataclass(frozen=True, kw_only=True)
class _Marks:
    lines: int
    has_nul: bool
    has_backslash: bool
    mixes_line_endings: bool


def _look_over(path: Path) -> _Marks:
    feeds = returns = pairs = 0
    nul = backslash = False
    last = b""
    with path.open("rb") as file:
        block = file.read(_BLOCK_BYTES)
        _check_beginning(path.name, block)
        while block:
            feeds += block.count(b"\n")
            if b"\r" in block:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            pairs += last.endswith(b"\r") and block.startswith(b"\n")
            nul = nul or b"\0" in block
            backslash = backslash or b"\\" in block
            last = block
            block = file.read(_BLOCK_BYTES)
    if returns and not feeds:
        raise CsvError(
            f"The lines of {path.name} end with a lone carriage return. Save it with line feeds (Unix or Windows)."
        )
    return _Marks(
        lines=feeds + (not last.endswith(b"\n")),
        has_nul=nul,
        has_backslash=backslash,
        mixes_line_endings=returns > 0 and not returns == pairs == feeds,
    )


def _check_beginning(name: str, block: bytes) -> None:
    if not block.removeprefix(_BOM).strip():
        raise CsvError(f"{name} is empty. Its first line must name the columns of the schema.")
    for beginning, what in _FOREIGN.items():
        if block.startswith(beginning):
            raise CsvError(f"{name} is {what}; only CSV files in UTF-8 are imported.")


def _header(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        _, record = next(_records(file, _CLOSING, path.name))
    try:
        text = record.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise CsvError(f"The header of {path.name} is not UTF-8. Save the file as UTF-8.") from error
    try:
        cells = next(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise CsvError(f"The header of {path.name} cannot be read: {error}.") from error
    return tuple(cell.strip() for cell in cells)


def _written_anew(path: Path, workspace: Path) -> Path:
    # A folder of its own: the copy keeps the name that messages give.
    folder = workspace / f"csv-{len(list(workspace.iterdir()))}"
    folder.mkdir()
    with path.open("rb") as reading, (folder / path.name).open("wb") as writing:
        for line, record in _records(reading, _CLOSING_WITH_BACKSLASH, path.name):
            row = record.removesuffix(b"\n").removesuffix(b"\r")
            if b"\r" in row and b"\r" in _QUOTED_WITH_BACKSLASH.sub(b"", row):
                raise CsvError(
                    f"{path.name} line {line}: a carriage return stands outside quotes. Remove it, or quote the value."
                )
            if b"\\" in row and b'"' in row:
                row = _QUOTED_WITH_BACKSLASH.sub(_with_doubled_quotes, row)
            writing.write(row + b"\n")
    return folder / path.name


def _with_doubled_quotes(value: re.Match[bytes]) -> bytes:
    inside = _ESCAPED.sub(lambda escaped: b'""' if escaped[1] == b'"' else b"\\", value[2])
    return value[1] + inside + b'"'


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A line, or a part of a very long one. `place` is its first byte, counted from 0; `line` from 1."""

    content: bytes
    place: int
    line: int
    begins_record: bool


def _pieces(file: BinaryIO, closing: re.Pattern[bytes]) -> Iterator[_Piece]:
    place, line = 0, 1
    inside, at_line_start = False, True
    while content := file.readline(MAX_RECORD_BYTES):
        yield _Piece(content=content, place=place, line=line, begins_record=at_line_start and not inside)
        inside = _ends_inside_quotes(content, inside, closing)
        place += len(content)
        at_line_start = content.endswith(b"\n")
        line += at_line_start


def _ends_inside_quotes(content: bytes, inside: bool, closing: re.Pattern[bytes]) -> bool:
    if b'"' not in content:
        return inside
    place = 0
    while True:
        if inside:
            if (closed := closing.match(content, place)) is None:
                return True
            place = closed.end()
        if (opened := _OPENING.search(content, place)) is None:
            return False
        place, inside = opened.end(), True


def _records(file: BinaryIO, closing: re.Pattern[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Line and content of each record, blank lines among them; raises CsvError for one that never ends."""
    parts: list[bytes] = []
    first_line, size = 1, 0
    for piece in _pieces(file, closing):
        if piece.begins_record and parts:
            yield first_line, b"".join(parts)
            parts, first_line, size = [], piece.line, 0
        parts.append(piece.content)
        size += len(piece.content)
        if size > MAX_RECORD_BYTES:
            raise CsvError(
                f"{name} line {first_line}: the row is longer than {MAX_RECORD_BYTES:,} bytes. Shorten it, or "
                "close the quote that is open in it."
            )
    yield first_line, b"".join(parts)


def line_at(file: CsvFile, place: int) -> int:
    """The line, from 1, of the record that DuckDB saw at `place`, in bytes from 0; blank lines before it go."""
    line = 1
    with file.path.open("rb") as reading:
        left = place
        while left and (block := reading.read(min(left, _BLOCK_BYTES))):
            line += block.count(b"\n")
            left -= len(block)
        while (content := reading.readline(MAX_RECORD_BYTES)) and not content.strip(b"\r\n"):
            line += 1
    return line


def lines_of(file: CsvFile, rows: Collection[int], rejected: Sequence[int]) -> dict[int, int] | None:
    """The line, from 1, that each of `rows` begins on.

    Rows are numbered from 1 without the header, blank lines and the records at the places `rejected` (in bytes
    from 0, ascending), which DuckDB left out. Line ends inside quotes count, as in an editor. None when the
    places are not where records begin, so that rows cannot be counted as DuckDB counted them.
    """
    found: dict[int, int] = {}
    left = list(reversed(rejected))
    row = -1  # the header
    gap = 0  # where the record before ended: DuckDB gives a record the place of the blank lines before it
    with file.path.open("rb") as reading:
        for piece in _pieces(reading, _CLOSING):
            if piece.begins_record and not piece.content.strip(b"\r\n"):
                continue
            if piece.begins_record and left and left[-1] <= piece.place:
                if left.pop() < gap:
                    return None
            elif piece.begins_record:
                row += 1
                if row in rows:
                    found[row] = piece.line
            if not left and len(found) == len(rows):
                return found
            gap = piece.place + len(piece.content)
    return None
