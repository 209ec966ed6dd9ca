"""Checks the append-only files of the embedded Redis: names a damaged file, the remedy, and the data at stake.

``appendonly.aof.manifest`` names one base file and the files appended since:

    file appendonly.aof.2.base.rdb seq 2 type b
    file appendonly.aof.2.incr.aof seq 2 type i

The server's own checkers read the files (its binary is each checker, by the name under which it is called). A file that
is cut short in the middle of a command, as a crash leaves it, is sound: the server drops the incomplete command.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
#: Time limit for the checkers (seconds); after it the answer goes out without them.
CHECK_SECONDS = 8.0
#: A command that is longer than this (bytes) is none of ours.
MOST_BYTES = 512 * 1024 * 1024
_BLOCK_BYTES = 1 << 20
BACKUP = "Restore a backup (docs/user/operate.md says how)."


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A damaged ``file``, the problem, the remedy, and the data that the remedy loses."""

    file: Path
    what: str
    advice: str

    def __str__(self) -> str:
        return f"Redis can't read its data: {self.file} {self.what}. {self.advice}"


def find_missing_files(redis: Path) -> Damage | None:
    """Find damage by the file names alone, in a server's folder. A server without a manifest starts empty."""
    folder = redis / FOLDER
    manifest = folder / MANIFEST
    if not manifest.exists():
        others = sorted(path.name for path in folder.glob("*.[ar][od][fb]")) if folder.is_dir() else []
        if not others:
            return None
        return Damage(
            file=manifest,
            what=f"is missing, and {', '.join(others)} are there: Redis would begin with nothing",
            advice=f"{BACKUP} Without one, everything would be lost that foretaste has acknowledged.",
        )
    named = _list_manifest_files(manifest)
    if not named:
        return Damage(
            file=manifest,
            what="is damaged: it names no files",
            advice=f"{BACKUP} Without one, everything would be lost that foretaste has acknowledged.",
        )
    for file in named:
        if not file.exists():
            lost = "everything but what came since" if file == named[0] else "what was written there"
            return Damage(
                file=file,
                what=f"is missing, which {MANIFEST} names",
                advice=f"{BACKUP} Without it, {lost} is lost.",
            )
    return None


def find_damage(redis: Path, binary: Path) -> Damage | None:
    """Find the damage that keeps a server from reading the files in its folder; None where none was found."""
    found = find_missing_files(redis)
    manifest = redis / FOLDER / MANIFEST
    if found is not None or not manifest.exists():
        return found
    for file in _list_manifest_files(manifest):
        found = _check_base_file(file, binary) if file.suffix == ".rdb" else _check_log_file(file, binary, redis)
        if found is not None:
            return found
    return None


def _list_manifest_files(manifest: Path) -> list[Path]:
    """The files that a server reads, in their order; [] where the manifest is not to be understood."""
    lines = manifest.read_text(errors="replace").splitlines()
    found = [re.fullmatch(r"file ([^/\s]+) seq \d+ type ([bih])(?: .*)?", line.strip()) for line in lines]
    if not all(found):
        return []
    return [manifest.parent / each[1] for each in found if each and each[2] != "h"]


def _check_base_file(file: Path, binary: Path) -> Damage | None:
    said = _run_checker("valkey-check-rdb", file, binary)
    if said is None:
        return None
    reason = next((line for line in said.splitlines() if line.startswith("[offset")), "")
    reason = next((line for line in said.splitlines() if re.match(r"\[offset \d+\] (?!Check)", line)), reason)
    return Damage(
        file=file,
        what=f"is damaged ({reason or 'the checker gives no reason'})",
        advice=f"{BACKUP} Without one, everything is lost that stands in it: all but what was written since it was "
        "made.",
    )


def _check_log_file(file: Path, binary: Path, redis: Path) -> Damage | None:
    said = _run_checker("valkey-check-aof", file, binary)
    found = re.search(r"size=(\d+), ok_up_to=(\d+),", said or "")
    if found is None:
        return None
    size, good = int(found[1]), int(found[2])
    with file.open("rb") as reading:
        reading.seek(good)
        if is_cut_short(reading):
            return None
        since = _find_write_time(reading, good)
    return Damage(
        file=file,
        what=f"is damaged at byte {good:,} of {size:,}",
        advice=f"{BACKUP} Or go on without what stands there and behind it: {size - good:,} bytes, written {since}. "
        f"Keep the files as they are (cp -a '{redis}' '{redis}.damaged'), then cut it off: truncate -s {good} '{file}'",
    )


def _run_checker(checker: str, file: Path, binary: Path) -> str | None:
    """Return a checker's complaint about a file; None: none, or the time limit was reached."""
    try:
        done = subprocess.run(
            [checker, str(file)],
            executable=binary,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode == 0 else done.stdout.decode(errors="replace")


def is_cut_short(reading: BinaryIO) -> bool:
    """Tell whether the rest of the file is whole commands followed by the beginning of one."""
    while line := reading.readline(_BLOCK_BYTES):
        if not line.endswith(b"\r\n"):
            return re.fullmatch(rb"(?:\*\d*|#[^\r\n]*)\r?", line) is not None
        if line.startswith(b"#"):
            continue
        counted = re.fullmatch(rb"\*(\d{1,9})\r\n", line)
        if counted is None:
            return False
        for _ in range(int(counted[1])):
            whole = _read_argument(reading)
            if whole is not True:
                return whole is None
    return True


def _read_argument(reading: BinaryIO) -> bool | None:
    """Read ``$<length>``, and so many bytes: True. None: the file ends within. False: something else stands there."""
    line = reading.readline(_BLOCK_BYTES)
    if not line.endswith(b"\r\n"):
        return None if re.fullmatch(rb"(?:\$\d*)?\r?", line) else False
    length = re.fullmatch(rb"\$(\d{1,9})\r\n", line)
    if length is None or int(length[1]) > MOST_BYTES:
        return False
    value = reading.read(int(length[1]) + 2)
    if len(value) < int(length[1]) + 2:
        return None
    return value.endswith(b"\r\n")


def _find_write_time(reading: BinaryIO, place: int) -> str:
    """Return when the bytes at ``place`` were written, by the newest timestamp before them."""
    end = place
    while end > 0:
        begin = max(end - _BLOCK_BYTES, 0)
        reading.seek(begin)
        times: Sequence[bytes] = re.findall(rb"#TS:(\d{1,12})\r\n", reading.read(min(end + 32, place) - begin))
        if times:
            return f"from {datetime.fromtimestamp(int(times[-1]), UTC):%Y-%m-%d %H:%M:%S} UTC on"
        end = begin
    return "at a time that is not noted"
