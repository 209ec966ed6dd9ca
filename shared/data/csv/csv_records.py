"""Count the records of a CSV file at nearly the speed of memory, and find those that are too long for the reader.

DuckDB parses the records, and silently drops those that do not fit into its buffer; an import therefore compares
DuckDB's number of rows with this count. Quotes are only counted: a line feed ends a record when the number of quotes
before it is even. That is exact while every opening quote stands at the beginning of its cell, which
`RecordCounts.is_exact` tells; otherwise the file must be read record by record.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_FEED, _RETURN, _QUOTE = b"\n"[0], b"\r"[0], b'"'[0]
# The bytes that may stand before a quote that opens a cell, or before the second of two doubled quotes.
_BEFORE_QUOTE = np.frombuffer(b',\n"', dtype=np.uint8)

_PIECE_BYTES = 1 << 20

_Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RecordCounts:
    """Counts of a whole file. `records` includes the header and no blank lines; lines are numbered from 1."""

    records: int
    is_exact: bool
    too_long: int | None
    """The first line of the first record that has more bytes than allowed."""
    too_blank: int | None
    """The first line of the first run of blank lines that is longer than allowed."""


class RecordCounter:
    """A counter that takes a file block by block. `max_record` is in bytes, `max_blank` in consecutive blank lines."""

    def __init__(self, *, max_record: int, max_blank: int) -> None:
        self._max_record = max_record
        self._max_blank = max_blank
        self._records = 0
        self._sure = True
        self._too_long: int | None = None
        self._too_blank: int | None = None
        self._read = 0  # bytes before this block
        self._lines = 0  # line feeds before this block
        self._quotes = 0
        self._last = b",,"  # the two bytes before this block; a file begins as a cell does
        self._ended = -1  # the position of the line feed that ended the last record or blank line
        self._ended_line = 0  # the line of that line feed
        self._filled_line = 0  # the line that ended the last record

    def add_block(self, block: bytes) -> None:
        # A position takes eight bytes, and every byte may be a line feed.
        for begin in range(0, len(block), _PIECE_BYTES):
            self._add_piece(block[begin : begin + _PIECE_BYTES])

    def _add_piece(self, block: bytes) -> None:
        # The block begins at index 2, so that each of its bytes has a byte before it.
        letters = np.frombuffer(self._last + block, dtype=np.uint8)
        feeds = np.flatnonzero(letters[2:] == _FEED)
        ending = self._find_record_ends(letters, feeds) if self._quotes or b'"' in block else np.arange(len(feeds))
        if len(ending):
            self._count_records(letters, feeds[ending], self._lines + 1 + ending)
        self._read += len(block)
        self._lines += len(feeds)
        self._last = (self._last + block)[-2:]
        if self._too_long is None and self._read - self._ended - 1 > self._max_record:
            self._too_long = self._ended_line + 1

    def _find_record_ends(self, letters: npt.NDArray[np.uint8], feeds: _Numbers) -> _Numbers:
        """Return the indices of the line feeds that end a record or a blank line."""
        is_quote = letters[2:] == _QUOTE
        quotes = np.flatnonzero(is_quote)
        opening = quotes[self._quotes % 2 :: 2]
        self._sure = self._sure and bool(np.isin(letters[opening + 1], _BEFORE_QUOTE).all())
        before = np.cumsum(is_quote, dtype=np.int32)[feeds] + self._quotes
        self._quotes += len(quotes)
        return np.flatnonzero(before % 2 == 0)

    def _count_records(self, letters: npt.NDArray[np.uint8], ends: _Numbers, lines: _Numbers) -> None:
        """Count the records that end in the block.

        `ends` are the positions in the block of the line feeds that end a record or a blank line, `lines` their lines.
        """
        lengths = np.diff(self._read + ends, prepend=self._ended)  # with the line feed
        filled = ~((lengths == 1) | ((lengths == 2) & (letters[ends + 1] == _RETURN)))
        lines_before = np.concatenate(([self._ended_line], lines[:-1]))
        self._records += int(np.count_nonzero(filled))
        if self._too_long is None and (found := np.flatnonzero(lengths - 1 > self._max_record)).size:
            self._too_long = int(lines_before[found[0]]) + 1
        filled_lines = np.concatenate(([self._filled_line], lines[filled]))
        blank = np.concatenate((lines_before[filled], lines[-1:])) - filled_lines
        if self._too_blank is None and (found := np.flatnonzero(blank > self._max_blank)).size:
            self._too_blank = int(filled_lines[found[0]]) + 1
        self._ended, self._ended_line = int(self._read + ends[-1]), int(lines[-1])
        self._filled_line = int(filled_lines[-1])

    def get_counts(self) -> RecordCounts:
        rest = self._read - self._ended - 1
        # A lone carriage return at the end of a file counts as a blank line.
        unended = rest > 1 or (rest == 1 and not self._last.endswith(b"\r"))
        return RecordCounts(
            records=self._records + unended,
            is_exact=self._sure,
            too_long=self._too_long,
            too_blank=self._too_blank,
        )
