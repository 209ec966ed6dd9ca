"""Counting the records of a CSV file without taking them apart: the same as walking them one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.data.csv.csv_records import RecordCounter, RecordCounts

PART = st.sampled_from(
    ["a", '"', '""', '"x"', ",", "\n", "\n\n", "é", " ", '"a\nb"', '"a,""b"""', "\r\n", '"\r\n\r\n"', ',""\n']
)


def tallied(content: bytes, *, piece: int = 1 << 20, max_record: int = 10**9, max_blank: int = 10**9) -> RecordCounts:
    counting = RecordCounter(max_record=max_record, max_blank=max_blank)
    for begin in range(0, len(content), piece):
        counting.add_block(content[begin : begin + piece])
    return counting.get_counts()


def walked(content: bytes) -> Iterator[bytes]:
    """Records and blank lines, letter by letter."""
    record, is_open = b"", False
    for place in range(len(content)):
        letter = content[place : place + 1]
        record += letter
        is_open ^= letter == b'"'
        if letter == b"\n" and not is_open:
            yield record
            record = b""
    yield from [record] if record else []


@given(
    parts=st.lists(PART, max_size=25),
    piece=st.integers(1, 9),
    max_record=st.sampled_from([3, 8, 20]),
    max_blank=st.sampled_from([0, 2, 5]),
)
def test_it_is_what_a_walk_finds(parts: list[str], piece: int, max_record: int, max_blank: int) -> None:
    content = ("USER,NOTE\n" + "".join(parts)).encode()
    found = tallied(content, piece=piece, max_record=max_record, max_blank=max_blank)
    assume(found.is_exact and content.count(b'"') % 2 == 0)
    records, too_long, too_blank, blank, line = 0, None, None, 0, 1
    for record in walked(content):
        if record.strip(b"\r\n"):
            records, blank = records + 1, 0
            too_long = too_long or (line if len(record.removesuffix(b"\n")) > max_record else None)
        else:
            blank += 1
            too_blank = too_blank or (line - blank + 1 if blank > max_blank else None)
        line += record.count(b"\n")
    assert (found.records, found.too_long) == (records, too_long)
    assert found.too_blank == too_blank


@pytest.mark.parametrize("content", [b'a,5" x\n', b'a, "x"\n', b'a"",b\n', b'a,"x" "y"\n'])
def test_it_is_not_sure_where_a_quote_does_not_begin_a_cell(content: bytes) -> None:
    assert not tallied(content).is_exact


def test_a_file_need_not_end_with_a_line_feed() -> None:
    assert tallied(b"a,b\nc").records == 2
    assert tallied(b'a,b\n"c\n\n"').records == 2
    assert tallied(b"a,b\r\n\r").records == 1
    assert tallied(b"").records == 0
