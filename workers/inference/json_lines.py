"""JSON Lines as batch jobs read and write them: a query per line in, a result per line out.

A line that is no query gets a result with an error, so that it costs the job nothing else. Memory is bounded by
MOST_LINE_BYTES, however long a line is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import orjson

#: The longest line that is read as a query (bytes): as long as the body of a request may be.
MOST_LINE_BYTES = 1 << 20
#: The part of a longer line that its result repeats (bytes).
SHOWN_BYTES = 1000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineError(Exception):
    """A line that has no answer; the message becomes the ``error`` of its result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of an input file."""

    file: str
    """The file's name."""
    number: int
    """Counts from 1, blank lines included."""
    input: Any
    """The members of the query; of a line that is none, its JSON or its text."""
    error: str | None = None
    """Why the line is no query."""


#: The output of a line (as JSON text, where it is long), or its error.
Answer = Mapping[str, Any] | orjson.Fragment | LineError


def iter_lines(source: BinaryIO, end: int, file: str, first: int) -> Iterator[Line]:
    """Yield the lines of ``source`` up to the byte at ``end``, blank ones left out. ``first`` is the first's number."""
    number = first
    while source.tell() < end:
        text = source.readline(MOST_LINE_BYTES + 1)
        if not text:
            return
        if len(text) > MOST_LINE_BYTES and not text.endswith(b"\n"):
            _skip_rest(source)
            yield _report_long_line(text, file, number)
        elif text.strip():
            yield parse_line(text, file, number)
        number += 1


def _skip_rest(source: BinaryIO) -> None:
    while (more := source.readline(MOST_LINE_BYTES)) and not more.endswith(b"\n"):
        pass


def _report_long_line(text: bytes, file: str, number: int) -> Line:
    shown = text[:SHOWN_BYTES].decode(errors="replace")
    return Line(
        file=file,
        number=number,
        input=f"{shown}...",
        error=f"The line has more than {MOST_LINE_BYTES} bytes; a line holds one query.",
    )


def parse_line(text: bytes, file: str, number: int) -> Line:
    """Return a line as a query, or with the reason why it is none."""
    content = text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
    try:
        members = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        shown = content.decode(errors="replace").rstrip("\r\n")
        return Line(file=file, number=number, input=shown, error=f"The line is no JSON in UTF-8: {error.msg}.")
    if not isinstance(members, dict):
        error_text = 'The line is no JSON object; a query looks like {"userId": "1"} or {"itemId": "1"}.'
        return Line(file=file, number=number, input=members, error=error_text)
    return Line(file=file, number=number, input=members)


def format_result(line: Line, answer: Answer) -> tuple[bytes, bool]:
    """Return the result of a line, as AWS writes it, and whether it is an error."""
    failed = isinstance(answer, LineError)
    result = {"input": line.input, "output": None if failed else answer, "error": str(answer) if failed else None}
    try:
        return orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE), failed
    except orjson.JSONEncodeError:
        # orjson reads deeper lists in lists than it writes.
        return format_result(replace(line, input=None), LineError("The line nests lists or objects too deeply."))
