"""The folder in which a local foretaste keeps everything: its lock, keys and passwords.

Redis, the importers and the trainers each write their own files in it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from services.cli.errors import CannotStart, InUse

#: The variable of a ``client.env`` that names the folder which it is of.
SERVER_DIR = "FORETASTE_SERVER_DIR"
#: A system that has just been killed is given so long to let go of its folder.
LOCK_SECONDS = 3.0

#: Names allowed in a data dir before its first start: buckets, the files of `make compose-env`, the demo's films.
BEFORE_THE_FIRST_START = frozenset({"catalogue", "compose.env", "s3", "secrets"})


class DataDir:
    """A data folder. ``path`` is created on first use; only its owner can read it, also where it existed before."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.client_env = self.path / "client.env"
        self.logs = self.path / "logs"
        self.redis = self.path / "redis"
        self.buckets = self.path / "s3"
        self._lock = self.path / "lock"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Lock the folder against a second system. Yield the descriptor: a process that inherits it holds the lock too.

        Raises InUse, CannotStart.
        """
        with self._open_lock() as lock:
            self._acquire_lock(lock.fileno())
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield lock.fileno()

    def _open_lock(self) -> TextIO:
        """Raises CannotStart."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._restrict_permissions()
            return self._lock.open("a+")
        except OSError as error:
            raise CannotStart(f"{self.path} can't be used ({error.strerror}): choose another --data-dir") from error

    def _restrict_permissions(self) -> None:
        """Let only its owner read the folder. Raises CannotStart."""
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if not mode & 0o077:
            return
        begin = f"{self.path} is open to other users of this machine (mode {mode:03o})"
        strangers = sorted(path.name for path in self.path.iterdir() if path.name not in BEFORE_THE_FIRST_START)
        if strangers and not self.client_env.exists():
            # A home folder, or /tmp: not ours to close.
            raise CannotStart(
                f"{begin} and holds what is not foretaste's ({strangers[0]}): choose a folder of its own for "
                f"--data-dir, or close this one: chmod 700 {shlex.quote(str(self.path))}"
            )
        try:
            self.path.chmod(0o700)
        except OSError as error:
            raise CannotStart(f"{begin}, and can't be closed ({error.strerror}): choose another --data-dir") from error

    def _acquire_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    owner = self._lock.read_text().strip()
                    raise InUse(f"foretaste runs on {self.path} already (process {owner})") from None
                time.sleep(0.05)

    def load_or_create_keys(self) -> tuple[str, str]:
        """The access key id and secret made for this folder; the same pair each time."""
        known = read_client_env(self.client_env) if self.client_env.exists() else {}
        if "AWS_ACCESS_KEY_ID" in known and "AWS_SECRET_ACCESS_KEY" in known:
            return known["AWS_ACCESS_KEY_ID"], known["AWS_SECRET_ACCESS_KEY"]
        return f"FT{secrets.token_hex(9).upper()}", secrets.token_hex(20)

    def write_client_env(self, *, keys: tuple[str, str], region: str, url: str) -> dict[str, str]:
        """Write a client's variables into ``client.env``, as ``export`` lines; return the variables."""
        values = {
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL_PERSONALIZE": url,
            "AWS_ENDPOINT_URL_PERSONALIZE_RUNTIME": url,
            "AWS_ENDPOINT_URL_PERSONALIZE_EVENTS": url,
            # For a client of the same machine, wherever it is called: where the buckets are.
            SERVER_DIR: str(self.path),
        }
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        _write_private(self.client_env, "".join(lines))
        return values

    def load_or_create_redis_password(self) -> str:
        """Made once per folder."""
        path = self.redis / "password"
        if not path.exists():
            self.redis.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(path, secrets.token_hex(32))
        return path.read_text()


def read_client_env(path: Path) -> Mapping[str, str]:
    """The variables of a ``client.env``."""
    words = (shlex.split(line) for line in path.read_text().splitlines())
    pairs = (assignment.partition("=") for word in words if word[:1] == ["export"] for assignment in word[1:])
    return {name: value for name, _, value in pairs}


def _write_private(path: Path, text: str) -> None:
    """Readable by the owner alone, and never seen half-written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
