"""Prepare a CSV file for DuckDB, read its header, and find the line of a row.

DuckDB cannot read values that mix doubled quotes with backslash escapes, nor files that mix line endings; it numbers
rows instead of lines, and drops records that do not fit into its buffer. Therefore a file is scanned once, at the
speed of memory, and its records are counted. A file that DuckDB cannot read is rewritten, and a file is read line by
line only to find the line of a bad row.
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
    """Return a pattern for blank lines and the record after them; `quoted` matches the inside of quotes.

    A quoted value begins with its cell, perhaps after spaces; a later quote is an ordinary character.
    """
    cell = rb'(?: *+"' + quoted + rb'"[^,\n]*+|(?! *+")[^,\n]*+)'
    return re.compile(rb"((?:\r?\n)*+)(" + cell + rb"(?:," + cell + rb")*+\n)", re.DOTALL)


_RECORD = _build_record_pattern(rb'[^"]*+(?:""[^"]*+)*+')
_BACKSLASHED = rb'[^"\\]*+(?:(?:\\.|"")[^"\\]*+)*+'
_RECORD_WITH_BACKSLASHES = _build_record_pattern(_BACKSLASHED)
_QUOTED_CELL = re.compile(rb'((?:^|,) *")(' + _BACKSLASHED + rb')("|\Z)', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')
# The most bytes kept in memory in search of the end of a record.
_MAX_OPEN_BYTES = 16_000_000


class CsvError(ValueError):
    """A file that cannot be read as CSV at all; the message names it and says what to do."""


@dataclass(frozen=True, kw_only=True)
class CsvFile:
    """A file that DuckDB can read: comma, double quote doubled inside quotes, one kind of line ending."""

    name: str
    path: Path
    header: tuple[str, ...]
    lines: int
    rows: int
    """Records below the header: the number that a reader must return."""
    has_nul: bool


def prepare_csv_file(path: Path, workspace: Path, on_step: Callable[[], None] = lambda: None) -> CsvFile:
    """Scan a file, and rewrite it below `workspace` if DuckDB could not read it.

    Inside quotes a backslash escapes a quote or a backslash; before another character, and outside quotes, it stands
    for itself. `on_step` is called every few megabytes, and its exceptions pass through. Raises CsvError, and OSError
    of the file system.
    """
    traits = _scan_file(path, on_step)
    if traits.has_quoting_with_backslash or traits.mixes_line_endings:
        path = _write_readable_copy(path, workspace, on_step)
        traits = replace(traits, counts=_scan_file(path, on_step).counts)
    return CsvFile(
        name=path.name,
        path=path,
        header=_read_header(path),
        lines=traits.lines,
        rows=_check_counts(traits, path, on_step).records - 1,
        has_nul=traits.has_nul,
    )


def _check_counts(traits: _FileTraits, path: Path, on_step: Callable[[], None]) -> RecordCounts:
    """Return exact counts of a file. Raises CsvError for records or runs of blank lines that the reader can't take."""
    counts = traits.counts if traits.counts.is_exact else _count_by_walking(path, traits.lines, on_step)
    if counts.too_long is not None:
        raise CsvError(_describe_long_row(path.name, counts.too_long))
    if counts.too_blank is not None:
        raise CsvError(
            f"{path.name} line {counts.too_blank}: more than {_MAX_BLANK_LINES:,} blank lines begin here. Remove them."
        )
    return counts


def _describe_long_row(name: str, line: int) -> str:
    return (
        f"{name} line {line}: the row is longer than {MAX_RECORD_BYTES:,} bytes. Shorten it, or close the quote that "
        "is open in it."
    )


def _count_by_walking(path: Path, lines: int, on_step: Callable[[], None]) -> RecordCounts:
    """Count record by record: for a file with quotes inside unquoted cells, where `RecordCounter` is not exact."""
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
    counter = RecordCounter(max_record=MAX_RECORD_BYTES, max_blank=_MAX_BLANK_LINES)
    with path.open("rb") as file:
        block = file.read(_BLOCK_BYTES)
        _check_beginning(path.name, block)
        while block:
            counter.add_block(block if last else block.removeprefix(_BOM))
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
        counts=counter.get_counts(),
        has_nul=nul,
        has_quoting_with_backslash=backslash and quote,
        mixes_line_endings=returns > 0 and not returns == pairs == feeds,
    )


def _check_beginning(name: str, block: bytes) -> None:
    text = block.removeprefix(_BOM)
    if not text.strip() or text.startswith((b"\n", b"\r\n")):
        problem = "begins with a blank line" if text.strip() else "is empty"
        raise CsvError(f"{name} {problem}. Its first line must name the columns of the schema.")
    for beginning, format_ in _FOREIGN.items():
        if block.startswith(beginning):
            raise CsvError(f"{name} is {format_}; only CSV files in UTF-8 are imported.")


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
    # In a folder of its own the copy keeps the file's name, which messages give.
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
            # The copy keeps blank lines, so that lines keep their numbers.
            writing.write(b"\n" * (line - next_line) + row + b"\n")
            next_line = line + record.count(b"\n")
    return folder / path.name


def _convert_to_doubled_quotes(value: re.Match[bytes]) -> bytes:
    inside = _ESCAPED.sub(lambda escaped: b'""' if escaped[1] == b'"' else b"\\", value[2])
    return value[1] + inside + value[3]


def _iter_records(
    file: BinaryIO, record: re.Pattern[bytes], name: str, on_step: Callable[[], None] = lambda: None
) -> Iterator[tuple[int, int, bytes]]:
    """Yield of each record its line from 1, the position of the blank lines before it (bytes from 0), and its bytes.

    The bytes end with a line feed, even at the end of a file without one. A record with an unclosed quote extends to
    the end of the file; CsvError if that is too far away.
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
    """Yield the line, from 1, and the cells of each record below the header."""
    with file.path.open("rb") as reading:
        for number, (line, _, record) in enumerate(_iter_records(reading, _RECORD, file.name)):
            if number:
                text = record.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
                yield line, _split_cells(text)


def _split_cells(record: str) -> list[str]:
    try:
        return next(csv.reader([record], skipinitialspace=True))
    except csv.Error:  # such as a cell of more than 128 KiB: never equal to DuckDB's cells
        return []


def find_line(file: CsvFile, place: int) -> int:
    """Return the line, from 1, of the record that DuckDB found at `place` (bytes from 0), after its blank lines."""
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
    """Return the first line, from 1, of each of `rows`.

    Rows are numbered from 1 without the header, blank lines and the records at the positions `rejected` (bytes from
    0, ascending), which DuckDB left out. Line ends inside quotes count, as in an editor. Return None when a rejected
    position is not the beginning of a record, since rows cannot then be counted as DuckDB counted them.
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
