"""The format of all data, on disk and in Redis: stamped, checked before anything is read, migrated where it is older.

Its number is raised when a release writes data that the release before would misread; new members are no reason
(older releases keep and ignore them). A newer stamp is refused: this release might destroy newer data.
docs/decisions/017 says more.
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
#: How long one step of a migration may take (seconds) before another process repeats it.
LOCK_SECONDS = 60.0


def _change_nothing(_: Any) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Migration:
    """The step from the previous format to ``to``. A step that was interrupted is repeated: each is safe to repeat."""

    to: int
    change: str
    """A description of the change, for the log."""
    in_redis: Callable[[Any], None] = _change_nothing
    """Migrate Redis: called with a ``redis.Redis`` that decodes its answers to text."""
    in_folder: Callable[[Path], None] = _change_nothing
    """Migrate a folder: called with the data folder, and with the artifacts folder; files may be missing in either."""


#: Ordered, without a gap. A released migration never changes.
MIGRATIONS: tuple[Migration, ...] = (
    Migration(to=1, change="the first stamp; all else stays as it was"),
    # Older releases would not find the events in files, nor recent events under a generation.
    Migration(to=2, change="live events may be in files; those in Redis stay until they are compacted"),
)


class NewerFormat(Exception):
    """A newer release has written the data; the message says where, and how to go on."""

    def __init__(self, where: str, number: int, release: str, known: int) -> None:
        super().__init__(
            f"{where} holds data of format {number}, stamped by foretaste {release or 'of unknown release'}; this is "
            f"foretaste {_get_release()}, which reads format {known} at most. Start that release or a newer one, or "
            "restore a back-up from before the upgrade."
        )


class UnreadableStamp(Exception):
    """The stamp's file can't be read; the message says how to go on."""


class NewerRedis(NewerFormat, redis.RedisError):
    """A newer release has written the data in Redis: every command of this release raises it."""


def _log_step(sentence: str) -> None:
    log.info("migrating", step=sentence)


def migrate_folder(
    folder: Path, migrations: Sequence[Migration] = MIGRATIONS, report: Callable[[str], None] = _log_step
) -> None:
    """Check the folder's stamp, migrate older data, and stamp it. Raises NewerFormat, UnreadableStamp.

    A disk that refuses the stamp is reported and left as it is: its data can still be read.
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
        report(f"{folder} could not be stamped with the format of its data: {error}")


def _report_migration(report: Callable[[str], None], where: str, migration: Migration) -> None:
    if migration.in_folder is not _change_nothing or migration.in_redis is not _change_nothing:
        report(f"{where} is migrated to format {migration.to}: {migration.change}")


def _read_stamp(folder: Path) -> tuple[int, str]:
    """Return the format's number, 0 where there is no stamp, and the release that wrote it."""
    try:
        stamp = orjson.loads((folder / FILE).read_bytes())
        return int(stamp["format"]), str(stamp.get("release", ""))
    except FileNotFoundError:
        return 0, ""
    except (ValueError, TypeError, LookupError, AttributeError):
        # A stamp is written whole or not at all: foretaste did not write this file, so that it can't mend it.
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
    """Migrate Redis; of several processes one migrates and the rest wait. Raises NewerRedis, RedisError."""
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
    """Build redis-py's ``redis_connect_func``: each new connection may reach another Redis, so that each is checked.

    ``options`` are those of the client; the connection that migrates has the same.
    """

    def check_connection(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("HGET", KEY, "format")
        if int(connection.read_response() or 0) != MIGRATIONS[-1].to:
            migrate_redis(url, **options)

    return check_connection


def check_data_format(redis_url: str, *folders: Path) -> None:
    """Check and migrate all data, before the process reads any. Raises NewerFormat, UnreadableStamp.

    A process also starts while Redis is away: each of its connections is checked later.
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
