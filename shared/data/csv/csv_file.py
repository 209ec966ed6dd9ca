"""One CSV file on its way in: what it is, its header, and which line a row stands on. DuckDB reads the rows.

DuckDB reads neither values that mix doubled quotes with backslash escapes nor files that mix line endings, numbers
rows, not lines, and loses what does not fit into its buffer. So a file is looked over once at the speed of memory and
its records are counted, it is written anew only when it holds one of these, and walked line by line only when the line
of a bad row is asked for.
"""

from __future__ import annotations

import contextlib
import csv
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from shared.data.csv.csv_records import RecordCounter, RecordCounts

MAX_RECORD_BYTES = 2_000_000
_MAX_BLANK_LINES = 2_000_000  # without a record between them
_BLOCK_BYTES = 1 << 22

_BOM = b"\xef\xbb\xbf"
_FOREIGN = {
    b"\x1f\x8b": "compressed with gzip. Unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook. Save it as CSV",
    b"PAR1": "a Parquet file. Save it as CSV",
    b"\xff\xfe": "encoded in UTF-16. Save it as UTF-8",
    b"\xfe\xff": "encoded in UTF-16. Save it as UTF-8",
}


def _build_record_pattern(quoted: bytes) -> re.Pattern[bytes]:
    """Blank lines and the record after them; `quoted` matches what may stand inside quotes.

    A quoted value begins with its cell, perhaps after spaces; a quote further on is a letter like any other.
    """
    cell = rb'(?: *+"' + quoted + rb'"[^,\n]*+|(?! *+")[^,\n]*+)'
    return re.compile(rb"((?:\r?\n)*+)(" + cell + rb"(?:," + cell + rb")*+\n)", re.DOTALL)


_RECORD = _build_record_pattern(rb'[^"]*+(?:""[^"]*+)*+')
_BACKSLASHED = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+'
_RECORD_WITH_BACKSLASHES = _build_record_pattern(_BACKSLASHED)
_QUOTED_CELL = re.compile(rb'((?:^|,) *")(' + _BACKSLASHED + rb')("|\Z)', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')
# What may be held in memory while the end of a record is looked for.
_MAX_OPEN_BYTES = 16_000_000


class CsvError(ValueError):
    """A file that is no CSV as a whole; the message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """A file that DuckDB can read: comma, double quote doubled inside quotes, one kind of line ending."""

    name: str
    path: Path
    header: tuple[str, ...]
    lines: int
    rows: int
    """Records below the header: as many as a reader must read."""
    has_nul: bool


def prepare_csv_file(path: Path, workspace: Path, on_step: Callable[[], None] = lambda: None) -> CsvFile:
    """Look a file over; below `workspace` it is written anew where DuckDB could not read it as it is.

    `on_step` is called for every few megabytes; what it raises comes out of here.

    Inside quotes a backslash makes a quote or a backslash a letter, as doubling makes a quote; before anything
    else, and outside quotes, it is a letter itself. Raises CsvError, and OSError of the file system.
    """
    marks = _scan_file(path, on_step)
    if marks.has_quoting_with_backslash or marks.mixes_line_endings:
        path = _write_readable_copy(path, workspace, on_step)
        marks = replace(marks, tally=_scan_file(path, on_step).counts)
    return CsvFile(
        name=path.name,
        path=path,
        header=_read_header(path),
        lines=marks.lines,
        rows=_check_counts(marks, path, on_step).records - 1,
        has_nul=marks.has_nul,
    )


def _check_counts(traits: _FileTraits, path: Path, on_step: Callable[[], None]) -> RecordCounts:
    """The tally of a file that the reader can read to its end. Raises CsvError."""
    tally = traits.counts if traits.counts.is_exact else _count_by_walking(path, traits.lines, on_step)
    if tally.too_long is not None:
        raise CsvError(_describe_long_row(path.name, tally.too_long))
    if tally.too_blank is not None:
        raise CsvError(
            f"{path.name} line {tally.too_blank}: more than {_MAX_BLANK_LINES:,} blank lines begin here. Remove them."
        )
    return tally


def _describe_long_row(name: str, line: int) -> str:
    return (
        f"{name} line {line}: the row is longer than {MAX_RECORD_BYTES:,} bytes. Shorten it, or close the quote that "
        "is open in it."
    )


def _count_by_walking(path: Path, lines: int, on_step: Callable[[], None]) -> RecordCounts:
    """The same, record by record: of a file in which quotes stand inside cells that have none around them."""
    records = 0
    too_long = too_blank = None
    after = 1
    with path.open("rb") as file:
        for line, _, record in _iter_records(file, _RECORD, path.name, on_step):
            records += 1
            if too_long is None and len(record) - 1 > MAX_RECORD_BYTES:
                too_long = line
            if too_blank is None and line - after > _MAX_BLANK_LINES:
                too_blank = after
            after = line + record.count(b"\n")
    if too_blank is None and lines + 1 - after > _MAX_BLANK_LINES:
        too_blank = after
    return RecordCounts(records=records, is_exact=True, too_long=too_long, too_blank=too_blank)


@dataclass(frozen=True, kw_only=True)
class _FileTraits:
    lines: int
    counts: RecordCounts
    has_nul: bool
    has_quoting_with_backslash: bool
    mixes_line_endings: bool


def _scan_file(path: Path, on_step: Callable[[], None]) -> _FileTraits:
    feeds = returns = pairs = 0
    nul = backslash = quote = False
    last = b""
    counting = RecordCounter(max_record=MAX_RECORD_BYTES, max_blank=_MAX_BLANK_LINES)
    with path.open("rb") as file:
        block = file.read(_BLOCK_BYTES)
        _check_beginning(path.name, block)
        while block:
            counting.add_block(block if last else block.removeprefix(_BOM))
            feeds += block.count(b"\n")
            if b"\r" in block:
                returns += block.count(b"\r")
                pairs += block.count(b"\r\n")
            pairs += last.endswith(b"\r") and block.startswith(b"\n")
            nul = nul or b"\0" in block
            backslash = backslash or b"\\" in block
            quote = quote or b'"' in block
            last = block
            on_step()
            block = file.read(_BLOCK_BYTES)
    if returns and not feeds:
        raise CsvError(
            f"The lines of {path.name} end with a lone carriage return. Save it with line feeds (Unix or Windows)."
        )
    return _FileTraits(
        lines=feeds + (not last.endswith(b"\n")),
        counts=counting.get_counts(),
        has_nul=nul,
        has_quoting_with_backslash=backslash and quote,
        mixes_line_endings=returns > 0 and not returns == pairs == feeds,
    )


def _check_beginning(name: str, block: bytes) -> None:
    text = block.removeprefix(_BOM)
    if not text.strip() or text.startswith((b"\n", b"\r\n")):
        what = "begins with a blank line" if text.strip() else "is empty"
        raise CsvError(f"{name} {what}. Its first line must name the columns of the schema.")
    for beginning, what in _FOREIGN.items():
        if block.startswith(beginning):
            raise CsvError(f"{name} is {what}; only CSV files in UTF-8 are imported.")


def _read_header(path: Path) -> tuple[str, ...]:
    with path.open("rb") as file:
        _, _, record = next(_iter_records(file, _RECORD, path.name))
    try:
        text = record.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise CsvError(f"The header of {path.name} is not UTF-8. Save the file as UTF-8.") from error
    try:
        cells = next(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise CsvError(f"The header of {path.name} cannot be read: {error}.") from error
    return tuple(cell.strip() for cell in cells)


def _write_readable_copy(path: Path, workspace: Path, on_step: Callable[[], None]) -> Path:
    # A folder of its own: the copy keeps the name that messages give.
    folder = Path(tempfile.mkdtemp(dir=workspace))
    with path.open("rb") as reading, (folder / path.name).open("wb") as writing:
        next_line = 1
        for line, _, record in _iter_records(reading, _RECORD_WITH_BACKSLASHES, path.name, on_step):
            row = record.removesuffix(b"\n").removesuffix(b"\r")
            if b"\r" in row and b"\r" in _QUOTED_CELL.sub(b"", row):
                raise CsvError(
                    f"{path.name} line {line}: a carriage return stands outside quotes. "
                    "Remove it, or put the value in quotes."
                )
            if b"\\" in row and b'"' in row:
                row = _QUOTED_CELL.sub(_convert_to_doubled_quotes, row)
            # Blank lines stay, so that lines keep their numbers.
            writing.write(b"\n" * (line - next_line) + row + b"\n")
            next_line = line + record.count(b"\n")
    return folder / path.name


def _convert_to_doubled_quotes(value: re.Match[bytes]) -> bytes:
    inside = _ESCAPED.sub(lambda escaped: b'""' if escaped[1] == b'"' else b"\\", value[2])
    return value[1] + inside + value[3]


def _iter_records(
    file: BinaryIO, record: re.Pattern[bytes], name: str, on_step: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, int, bytes]]:
    """Line from 1, place of the blank lines before it in bytes from 0, and bytes of each record.

    The bytes end with a line feed even where the file does not. A record whose quote stays open goes on to the
    end of the file; CsvError if that is far.
    """
    line, place, buffer, begin = 1, 0, b"", 0
    while True:
        on_step()
        block = file.read(_BLOCK_BYTES)
        buffer, begin = buffer[begin:] + block, 0
        if not block and buffer and not buffer.endswith(b"\n"):
            buffer += b"\n"
        while found := record.match(buffer, begin):
            blank, content = found.groups()
            line += blank.count(b"\n")
            yield line, place, content
            line += content.count(b"\n")
            place += len(blank) + len(content)
            begin = found.end()
        rest = len(buffer) - begin
        if rest > _MAX_OPEN_BYTES:
            raise CsvError(_describe_long_row(name, line))
        if not block:
            break
    if buffer[begin:].strip(b"\r\n"):
        yield line, place, buffer[begin:]


def iter_rows(file: CsvFile) -> Iterator[tuple[int, list[str]]]:
    """The line, from 1, and the cells of each record below the header."""
    with file.path.open("rb") as reading:
        for number, (line, _, record) in enumerate(_iter_records(reading, _RECORD, file.name)):
            if number:
                text = record.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
                yield line, _split_cells(text)


def _split_cells(record: str) -> list[str]:
    try:
        return next(csv.reader([record], skipinitialspace=True))
    except csv.Error:  # a cell of more than 128 KiB, among others: it is like no cells at all
        return []


def find_line(file: CsvFile, place: int) -> int:
    """The line, from 1, of the record that DuckDB saw at `place`, in bytes from 0; blank lines before it go."""
    line = 1
    with file.path.open("rb") as reading:
        left = place
        while left and (block := reading.read(min(left, _BLOCK_BYTES))):
            line += block.count(b"\n")
            left -= len(block)
        while (content := reading.readline(_BLOCK_BYTES)) and not content.strip(b"\r\n"):
            line += 1
    return line


def find_row_lines(file: CsvFile, rows: Collection[int], rejected: Sequence[int]) -> dict[int, int] | None:
    """The line, from 1, that each of `rows` begins on.

    Rows are numbered from 1 without the header, blank lines and the records at the places `rejected` (in bytes
    from 0, ascending), which DuckDB left out. Line ends inside quotes count, as in an editor. None when the
    places are not where records begin, so that rows cannot be counted as DuckDB counted them.
    """
    found: dict[int, int] = {}
    left = list(reversed(rejected))
    row = -1  # the header
    with file.path.open("rb") as reading, contextlib.suppress(CsvError):
        for line, place, record in _iter_records(reading, _RECORD, file.name):
            if left and left[-1] < place + len(record):
                if left.pop() < place:
                    return None
            else:
                row += 1
                if row in rows:
                    found[row] = line
            if not left and len(found) == len(rows):
                return found
    return None
