"""The shards of a batch job: its input, split once, and the parts of its results, in a folder that all workers share.

    input/<file number>     the input files, as they were when the job began
    plan.json               their names, and the shards: written last, so that with a plan the input is complete
    parts/<shard number>    the results of a shard, whole, after a line with the number of lines that failed
    result                  the results of one file, while they are written into the client's bucket

A part is a function of its shard, so that two workers on one shard do no harm: the later one replaces equal bytes. The
folder belongs to one job: a worker that is late finds the folder of a later job of the same name elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from shared.storage.artifacts import sync_to_disk

_PIECE_BYTES = 1 << 20
#: A shard of long lines has fewer of them.
MOST_SHARD_BYTES = 64 << 20
_HEAD_DIGITS = 20


class InputUnusable(Exception):
    """The input can't be split into lines; the message names the file and the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Consecutive lines of one input file."""

    number: int
    """Its place among the shards of the job."""
    file: int
    """The file's place among the input files."""
    begin: int
    end: int
    """The bytes of the file, from ``begin`` to before ``end``."""
    first_line: int
    """Counts from 1."""
    records: int
    """The lines that are not blank."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The input files of a job by their names, and the shards in the order of their lines."""

    files: Sequence[str]
    shards: Sequence[Shard]
    skipped: Sequence[str] = ()
    """The names of files that hold no data, such as README.md, some of them."""

    def count_records(self) -> int:
        return sum(shard.records for shard in self.shards)

    def list_file_shards(self, file: int) -> list[Shard]:
        return [shard for shard in self.shards if shard.file == file]


class ShardFolder:
    """The files of one job under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._plan = root / "plan.json"
        self._parts = root / "parts"

    def create_folders(self) -> None:
        self._parts.mkdir(parents=True, exist_ok=True)
        (self.root / "input").mkdir(exist_ok=True)

    def get_input(self, file: int) -> Path:
        return self.root / "input" / str(file)

    def read_plan(self) -> Plan | None:
        """Return the plan; None before the input is complete."""
        try:
            members = orjson.loads(self._plan.read_bytes())
        except FileNotFoundError:
            return None
        names = ("number", "file", "begin", "end", "first_line", "records")
        shards = [Shard(**dict(zip(names, values, strict=True))) for values in members["shards"]]
        return Plan(files=members["files"], shards=shards, skipped=members["skipped"])

    def write_plan(self, plan: Plan) -> None:
        for file in range(len(plan.files)):
            sync_to_disk(self.get_input(file))
        shards = [[each.number, each.file, each.begin, each.end, each.first_line, each.records] for each in plan.shards]
        with self._write_whole(self._plan) as writing:
            writing.write(orjson.dumps({"files": plan.files, "shards": shards, "skipped": plan.skipped}))

    def has_part(self, shard: Shard) -> bool:
        return self._get_part(shard).exists()

    def list_parts(self) -> set[int]:
        """Return the numbers of the shards whose results are complete. Raises FileNotFoundError after the job."""
        return {int(path.name) for path in self._parts.iterdir() if path.name.isdecimal()}

    @contextlib.contextmanager
    def write_part(self, shard: Shard) -> Iterator[PartWriter]:
        """Yield a writer of the results of a shard, which appear whole at the end. Raises FileNotFoundError once the
        job has ended.
        """
        with self._write_whole(self._get_part(shard)) as writing:
            writer = PartWriter(writing)
            yield writer
            writer.finish()

    def _get_part(self, shard: Shard) -> Path:
        return self._parts / str(shard.number)

    @contextlib.contextmanager
    def _write_whole(self, target: Path) -> Iterator[BinaryIO]:
        draft = target.with_name(f".{secrets.token_hex(8)}.draft")
        try:
            with draft.open("wb") as writing:
                yield writing
            sync_to_disk(draft)
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)

    def merge_parts(self, shards: Sequence[Shard], on_block: Callable[[], object]) -> tuple[Path, int]:
        """Write the parts of these shards, one after the other, into one file; return it, and how many lines failed."""
        merged, failed = self.root / "result", 0
        with merged.open("wb") as writing:
            for shard in shards:
                with self._get_part(shard).open("rb") as reading:
                    failed += int(reading.readline())
                    while block := reading.read(_PIECE_BYTES):
                        writing.write(block)
                        on_block()
        return merged, failed


class PartWriter:
    """Writes results behind a line with the number of lines that failed, which is known at the end."""

    def __init__(self, writing: BinaryIO) -> None:
        self._writing = writing
        self._failed = 0
        self._write_head()

    def _write_head(self) -> None:
        self._writing.write(b"%0*d\n" % (_HEAD_DIGITS, self._failed))

    def write_result(self, result: bytes, failed: bool) -> None:
        self._writing.write(result)
        self._failed += failed

    def finish(self) -> None:
        self._writing.seek(0)
        self._write_head()


#: What the first bytes of files are that hold no lines of text.
_OTHER_FORMATS = {
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "a Parquet file",
    b"BZh": "compressed by bzip2",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}


class InputSplitter:
    """Copies input files and splits them into shards of ``shard_lines`` lines."""

    def __init__(
        self,
        folder: ShardFolder,
        shard_lines: int,
        on_lines: Callable[[int], object],
        *,
        most_records: int | None = None,
    ) -> None:
        """``on_lines`` is called after each piece of work with the number of lines read so far."""
        self._folder = folder
        self._shard_lines = shard_lines
        self._on_lines = on_lines
        self._most_records = most_records
        self._files: list[str] = []
        self._shards: list[Shard] = []
        self._records = 0

    def add_file(self, path: Path) -> None:
        """Copy and split a file. Raises InputUnusable where it can't be read, holds no text or too many lines."""
        line = 1
        if path.name in self._files:  # long names of objects are cut
            raise InputUnusable(f"Two files are named {path.name}. Give them shorter names.")
        with path.open("rb") as reading, self._folder.get_input(len(self._files)).open("wb") as writing:
            _check_format(reading, path.name)
            try:
                for shard in self._iter_shards(reading, writing):
                    line = shard.first_line
                    self._shards.append(shard)
                    self._check_records(path.name, line)
            except OSError as error:
                raise InputUnusable(f"{path.name} can't be read after line {line}: {error.strerror}.") from error
        self._files.append(path.name)

    def _check_records(self, name: str, line: int) -> None:
        if self._most_records is not None and self._records > self._most_records:
            raise InputUnusable(
                f"{name} goes beyond the {self._most_records} lines that a batch job takes, after line {line}."
            )

    def build_plan(self, skipped: Sequence[str] = ()) -> Plan:
        return Plan(files=self._files, shards=self._shards, skipped=list(skipped))

    def _iter_shards(self, reading: BinaryIO, writing: BinaryIO) -> Iterator[Shard]:
        begin = position = told = 0
        first, line, records, blank = 1, 1, 0, True
        while piece := reading.readline(_PIECE_BYTES):
            writing.write(piece)
            position += len(piece)
            blank = blank and not piece.strip()
            if position - told >= _PIECE_BYTES:
                told = position
                self._on_lines(self._records)
            if not piece.endswith(b"\n"):
                continue  # the last line, or a long one that goes on
            line += 1
            records, self._records, blank = records + (not blank), self._records + (not blank), True
            if records >= self._shard_lines or position - begin >= MOST_SHARD_BYTES:
                yield self._build_shard(begin, position, first, records)
                begin, first, records = position, line, 0
        self._records += not blank
        if position > begin:
            yield self._build_shard(begin, position, first, records + (not blank))

    def _build_shard(self, begin: int, end: int, first_line: int, records: int) -> Shard:
        return Shard(
            number=len(self._shards),
            file=len(self._files),
            begin=begin,
            end=end,
            first_line=first_line,
            records=records,
        )


def _check_format(reading: BinaryIO, name: str) -> None:
    head = reading.read(8)
    reading.seek(0)
    for start, format_ in _OTHER_FORMATS.items():
        if head.startswith(start):
            raise InputUnusable(f"{name}, line 1, is {format_}. Give a text in UTF-8 with a JSON object on each line.")
