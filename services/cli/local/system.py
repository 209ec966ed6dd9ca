"""The local system: Redis and every process of the table, on loopback, with all state in one folder.

``foretaste up`` and ``foretaste demo`` run it; it starts the services and imports none of them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import redis

from services.cli.errors import CannotStart
from services.cli.health import answers_ping, has_heartbeat
from services.cli.local import disk_guard, embedded_redis, redis_files
from services.cli.local.data_dir import DataDir
from services.cli.local.processes import PROCESSES, ProcessSpec
from services.cli.local.supervisor import ChildSpec, Supervisor
from shared import settings
from shared.settings import Settings
from shared.store.data_format import NewerFormat, UnreadableStamp, migrate_folder
from shared.store.redis import PROMPT, RedisStore
from shared.system.parent_death import with_our_packages

#: Processes of a system that was killed a moment ago are given so long to let go of the port.
BIND_SECONDS = 5.0
READY_SECONDS = 180.0
#: Holds the packages services, workers and shared.
HOME = Path(settings.__file__).absolute().parent.parent


@dataclass(frozen=True, kw_only=True)
class SystemOptions:
    """The operator's choices. ``port`` 0 takes a free one; ``buckets`` are mounted read-only."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    buckets: Mapping[str, Path]
    appendfsync: str = "everysec"
    training_workers: int = 1
    inference_workers: int = 1


@dataclass(frozen=True, kw_only=True)
class LocalSystem:
    """A system that runs. ``client`` holds the variables that a client needs."""

    url: str
    data_dir: DataDir
    client: Mapping[str, str]
    supervisor: Supervisor


@contextmanager
def run_local_system(
    wishes: SystemOptions, *, say: Callable[[str], None], stopping: threading.Event
) -> Iterator[LocalSystem]:
    """Start everything, wait until it answers, and end it at the end of the block.

    Gives the system also when ``stopping`` was set before it was ready. Raises CannotStart, InUse, NotReady.
    """
    say = _ignore_output_errors(say)
    data_dir = DataDir(wishes.data_dir)
    chosen = settings.load()
    _refuse_open_door(wishes.host, chosen)
    with ExitStack() as stack:
        lock = stack.enter_context(data_dir.lock())
        _refuse_newer(say, data_dir.path, chosen.artifacts_dir or data_dir.path / "artifacts")
        data_dir.buckets.mkdir(exist_ok=True)
        sockets = {p.name: stack.enter_context(socket.socket()) for p in PROCESSES if p.http}
        for name, listener in sockets.items():
            at_gateway = name == "gateway"
            _open_listener(listener, wishes.host if at_gateway else "127.0.0.1", wishes.port if at_gateway else 0)
        url = _build_listener_url(sockets["gateway"])
        keys = (
            (chosen.access_key_id, chosen.secret_access_key)
            if chosen.access_key_id and chosen.secret_access_key
            else data_dir.load_or_create_keys()
        )
        client = data_dir.write_client_env(keys=keys, region=chosen.region, url=url)
        foundation, redis_url = _prepare_redis(data_dir, wishes, chosen.redis_max_memory_mb, lock)
        values = {
            "FORETASTE_DATA_DIR": str(data_dir.path),
            "FORETASTE_REDIS_URL": redis_url,
            "FORETASTE_ACCESS_KEY_ID": keys[0],
            "FORETASTE_SECRET_ACCESS_KEY": keys[1],
            "FORETASTE_UNSIGNED": str(chosen.unsigned).lower(),
            "FORETASTE_API_URL": _build_listener_url(sockets["api"]),
            "FORETASTE_RUNTIME_URL": _build_listener_url(sockets["runtime"]),
            "FORETASTE_EVENTS_URL": _build_listener_url(sockets["events"]),
            "FORETASTE_BUCKETS": _format_mounts({**chosen.buckets, **wishes.buckets}),
        }
        store = RedisStore(redis_url)
        children = [
            replace(_build_child(process, sockets.get(process.name), values, store), name=name)
            for process in PROCESSES
            for name in _name_processes(process, wishes)
        ]
        children = _assign_metrics_ports(children, chosen.metrics_bind)
        if foundation:
            stack.enter_context(embedded_redis.sync_in_background(data_dir.redis, say=say))
            watching = RedisStore(redis_url, PROMPT)
            stack.enter_context(disk_guard.watch_disk(data_dir.redis, watching, chosen.min_free_mb, say=say))
        supervisor = stack.enter_context(Supervisor(children, logs=data_dir.logs, say=say, foundation=foundation))
        supervisor.wait_until_ready(READY_SECONDS, stopping=stopping)
        yield LocalSystem(url=url, data_dir=data_dir, client=client, supervisor=supervisor)


def _ignore_output_errors(say: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap ``say`` so that a full disk or a closed pipe does not end the system."""

    def told(sentence: str) -> None:
        with suppress(OSError):
            say(sentence)

    return told


def _refuse_newer(say: Callable[[str], None], *folders: Path) -> None:
    """Before anything else is written there."""
    try:
        for folder in folders:
            migrate_folder(folder, report=say)
    except (NewerFormat, UnreadableStamp) as error:
        raise CannotStart(str(error)) from error


def _name_processes(process: ProcessSpec, wishes: SystemOptions) -> list[str]:
    """Of the processes of this kind: "training", "training-2", ..."""
    counts = {"training": wishes.training_workers, "inference": wishes.inference_workers}
    count = counts.get(process.name, 1)
    return [process.name if number == 1 else f"{process.name}-{number}" for number in range(1, count + 1)]


def _assign_metrics_ports(children: Sequence[ChildSpec], bind: str | None) -> list[ChildSpec]:
    """They share this machine: the first answers /metrics at the port that was chosen, each other at the next one."""
    if not bind:
        return list(children)
    host, _, port = bind.rpartition(":")
    try:
        first = int(port)
    except ValueError:
        raise CannotStart(f"FORETASTE_METRICS_BIND must be host:port, and not {bind}") from None
    addresses = (f"{host}:{first + number}" for number in range(len(children)))
    return [
        replace(child, environment={**child.environment, "FORETASTE_METRICS_BIND": address})
        for child, address in zip(children, addresses, strict=True)
    ]


def _refuse_open_door(host: str, chosen: Settings) -> None:
    if _is_loopback(host):
        return
    if chosen.unsigned:
        raise CannotStart(
            f"refusing to listen on {host} while FORETASTE_UNSIGNED=true: anybody who reaches it could use "
            "it. Unset it, or listen on 127.0.0.1."
        )
    if not (chosen.access_key_id and chosen.secret_access_key):
        raise CannotStart(
            f"refusing to listen on {host} without keys of your own: set FORETASTE_ACCESS_KEY_ID and "
            "FORETASTE_SECRET_ACCESS_KEY, or listen on 127.0.0.1."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError as error:
        raise CannotStart(f"--host {host} is no IPv4 address of this machine: {error}") from error


def _open_listener(listener: socket.socket, host: str, port: int) -> None:
    # We hold the listening sockets ourselves: while a killed process is being started again, connections
    # wait in the backlog and none is refused.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            listener.bind((host, port))
            return listener.listen(1024)
        except OSError as error:
            if time.monotonic() > deadline:
                reason = f"can't listen on {host}:{port}: {error.strerror}; choose another --port"
                raise CannotStart(reason) from error
            time.sleep(0.1)


def _build_listener_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - it is only compared


def _prepare_redis(
    data_dir: DataDir, wishes: SystemOptions, max_memory_mb: int, lock: int
) -> tuple[ChildSpec | None, str]:
    """The server to start and its URL; no server when the operator has one."""
    own = os.environ.get("FORETASTE_REDIS_URL") or os.environ.get("FORETASTE_REDIS_URL_FILE")
    if own:
        redis_url = settings.load().redis_url
        if reason := embedded_redis.find_refusal(redis_url):
            at = urlsplit(redis_url)
            raise CannotStart(f"no Redis answers at FORETASTE_REDIS_URL ({at.hostname}:{at.port}): {reason}")
        try:
            RedisStore(redis_url).ping()
        except NewerFormat as error:
            raise CannotStart(str(error)) from error
        return None, redis_url
    # A server would accept some of that silently, and start empty.
    if (found := redis_files.find_missing_files(data_dir.redis)) is not None:
        raise CannotStart(str(found))
    try:
        port = embedded_redis.find_free_port()
        foundation = embedded_redis.build_child(
            data_dir, port=port, appendfsync=wishes.appendfsync, max_memory_mb=max_memory_mb, lock=lock
        )
    except OSError as error:
        raise CannotStart(str(error)) from error
    return foundation, embedded_redis.build_url(port, data_dir.load_or_create_redis_password())


def _format_mounts(buckets: Mapping[str, Path]) -> str:
    for name, path in buckets.items():
        if "," in f"{name}{path}" or "=" in name:
            raise CannotStart(f"a bucket's name and folder must be without commas: {name}={path}")
    return ",".join(f"{name}={path.absolute()}" for name, path in buckets.items())


def _build_child(
    process: ProcessSpec, listener: socket.socket | None, values: Mapping[str, str], store: RedisStore
) -> ChildSpec:
    told = {name: values[name] for name in process.environment if name in values}
    # The operator's further settings reach every process; keys and addresses reach only those that need them.
    passed = {name: value for name, value in settings.make_paths_absolute(os.environ).items() if name not in values}
    passed["FORETASTE_BUCKETS"] = values["FORETASTE_BUCKETS"]
    # gunicorn and celery look for modules in the folder they run in, which therefore is that of our own packages, and
    # not the one that `foretaste up` was started in.
    environment = with_our_packages({**passed, **told, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"})
    if listener is not None:
        environment["FORETASTE_BIND"] = f"fd://{listener.fileno()}"
        return ChildSpec(
            name=process.name,
            command=(sys.executable, "-m", *process.command),
            environment=environment,
            folder=HOME,
            descriptors=(listener.fileno(),),
            ready=lambda _pid: answers_ping(_build_listener_url(listener), 0.5),
        )
    return ChildSpec(
        name=process.name,
        command=(sys.executable, "-m", *process.command),
        environment=environment,
        folder=HOME,
        ready=lambda pid: _find_heartbeat(store, process.name, pid) is True,
        # gunicorn replaces a server that hangs by itself.
        is_alive=lambda pid: _find_heartbeat(store, process.name, pid),
    )


def _find_heartbeat(store: RedisStore, name: str, pid: int) -> bool | None:
    """Return None if Redis does not answer."""
    try:
        return has_heartbeat(store, name, pid=pid)
    except redis.RedisError:
        return None
