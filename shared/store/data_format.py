"""The format of all that is kept, on disk and in Redis: stamped, looked at before anything is read, migrated if older.

It is raised when a release writes what the one before would misread; further members are no reason (they are kept and
passed over). A newer stamp is refused: this release can't know what it would destroy. docs/decisions/017 says more.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import redis
import structlog

log = structlog.get_logger()

FILE = "format.json"
KEY = "foretaste:format"
LOCK = "foretaste:migrating"
#: One step of a migration is given so long (seconds) before another process may take it up.
LOCK_SECONDS = 60.0


def _change_nothing(_: Any) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Migration:
    """From the format before to ``to``. It may end anywhere, and is then begun anew: each step is safe to repeat."""

    to: int
    change: str
    """What it changes, for the log."""
    in_redis: Callable[[Any], None] = _change_nothing
    """Of a ``redis.Redis``, whose answers are text."""
    in_folder: Callable[[Path], None] = _change_nothing
    """Of the data folder, and of the folder of the artifacts: what is not there is not its business."""


#: In their order, without a gap; none is ever changed once it was released.
MIGRATIONS: tuple[Migration, ...] = (Migration(to=1, change="the first stamp; all else stays as it was"),)


class NewerFormat(Exception):
    """What is kept was written by a newer release; the message says where, and what to do."""

    def __init__(self, where: str, number: int, release: str, known: int) -> None:
        super().__init__(
            f"{where} holds data of format {number}, stamped by foretaste {release or 'of unknown release'}; this is "
            f"foretaste {_get_release()}, which reads format {known} at most. Start that release or a newer one, or "
            "restore a back-up from before the upgrade."
        )


class UnreadableStamp(Exception):
    """What stands where the stamp stands is none; the message says what to do."""


class NewerRedis(NewerFormat, redis.RedisError):
    """The same of a Redis: raised by whatever is asked of it."""


def _log_step(sentence: str) -> None:
    log.info("migrating", step=sentence)


def migrate_folder(
    folder: Path, migrations: Sequence[Migration] = MIGRATIONS, report: Callable[[str], None] = _log_step
) -> None:
    """Look at the folder's stamp, migrate what is older, and stamp it. Raises NewerFormat, Unstamped.

    A disk that takes no stamp is told of and left as it is: what lies there can still be read.
    """
    try:
        number, release = _read_stamp(folder)
        if number > migrations[-1].to:
            raise NewerFormat(str(folder), number, release, migrations[-1].to)
        for migration in migrations:
            if migration.to > number:
                _report_migration(report, str(folder), migration)
                migration.in_folder(folder)
                _write_stamp(folder, migration.to)
    except OSError as error:
        report(f"{folder} could not be stamped with the format of what it holds: {error}")


def _report_migration(tell: Callable[[str], None], where: str, migration: Migration) -> None:
    if migration.in_folder is not _change_nothing or migration.in_redis is not _change_nothing:
        tell(f"{where} is brought to format {migration.to}: {migration.change}")


def _read_stamp(folder: Path) -> tuple[int, str]:
    """The number and who wrote it; 0 where there is no stamp."""
    try:
        stamp = orjson.loads((folder / FILE).read_bytes())
        return int(stamp["format"]), str(stamp.get("release", ""))
    except FileNotFoundError:
        return 0, ""
    except (ValueError, TypeError, LookupError, AttributeError):
        # Stamps appear whole or not at all: what is there was written by somebody else. It is theirs to mend.
        raise UnreadableStamp(
            f"{folder / FILE} can't be read: restore it, or the whole folder, from a back-up."
        ) from None


def _write_stamp(folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{FILE}.{uuid4().hex}"
    try:
        with draft.open("wb") as file:
            file.write(orjson.dumps({"format": number, "release": _get_release()}))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / FILE)
    finally:
        draft.unlink(missing_ok=True)


def migrate_redis(url: str, migrations: Sequence[Migration] = MIGRATIONS, **options: Any) -> None:
    """The same of a Redis, in which one process migrates while the others wait. Raises NewerRedis, RedisError."""
    with contextlib.closing(redis.Redis.from_url(url, **{**options, "decode_responses": True})) as server:
        owner = uuid4().hex
        while (number := _read_redis_stamp(server, migrations[-1].to)) < migrations[-1].to:
            if not server.set(LOCK, owner, nx=True, px=round(LOCK_SECONDS * 1000)):
                time.sleep(0.05)
                continue
            following = next(one for one in migrations if one.to > number)
            _report_migration(_log_step, "Redis", following)
            following.in_redis(server)
            server.hset(KEY, mapping={"format": following.to, "release": _get_release()})
            server.delete(LOCK)


def _read_redis_stamp(server: Any, known: int) -> int:
    number, release = server.hmget(KEY, "format", "release")
    if int(number or 0) > known:
        at = server.connection_pool.connection_kwargs
        where = f"The Redis at {at.get('host', '')}:{at.get('port', '')}"
        raise NewerRedis(where, int(number), release or "", known)
    return int(number or 0)


def create_connect_hook(url: str, **options: Any) -> Callable[[Any], None]:
    """What redis-py calls for each new connection (``redis_connect_func``): another Redis may stand at the same place.

    ``options`` are those of the client, for the one that migrates.
    """

    def connected(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("HGET", KEY, "format")
        if int(connection.read_response() or 0) != MIGRATIONS[-1].to:
            migrate_redis(url, **options)

    return connected


def check_data_format(redis_url: str, *folders: Path) -> None:
    """At the start of a process, before it reads anything. Raises NewerFormat, Unstamped.

    Without Redis a process starts all the same: each of its connections is looked at.
    """
    for folder in folders:
        migrate_folder(folder)
    with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
        migrate_redis(redis_url, socket_timeout=1.0, socket_connect_timeout=1.0)


def _get_release() -> str:
    try:
        return importlib.metadata.version("foretaste")
    except importlib.metadata.PackageNotFoundError:
        return ""
