"""``foretaste doctor``: find problems of this machine, and say how to solve each."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import click

from services.cli import screen
from services.cli.local.data_dir import DataDir
from services.cli.options import DEFAULT_DATA_DIR

DISK_BYTES = 2 * 1024**3
SKEW_SECONDS = 300  # a signature older or newer than that is refused

#: The settings with which a killed Redis loses no acknowledged write, and the consequence of any other value.
KEEPS = {
    "appendonly": ({"yes"}, "when it ends, what came since its last snapshot is lost: set it to yes"),
    "maxmemory-policy": (
        {"noeviction"},
        "when memory is short it drops what it has acknowledged: set it to noeviction",
    ),
    "appendfsync": (
        {"always", "no"},
        "killed while its disk is slow, it loses up to two seconds: set it to always, or to no and sync its file each "
        "second (compose.yaml does)",
    ),
}

Verdict = Literal["ok", "note", "bad"]
SHOWN = {"ok": "[green]ok  [/green]", "note": "[yellow]note[/yellow]", "bad": "[red]bad [/red]"}


@dataclass(frozen=True)
class Finding:
    """One result. ``advice`` is the remedy where the verdict is not "ok"."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_DATA_DIR,
    envvar="FORETASTE_DATA_DIR",
    show_default=True,
    help="Folder that `up` uses or would use.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port to look at.")
def doctor(data_dir: Path, port: int) -> None:
    """Check Python, torch, Redis, its files, port, disk, keys, clock, endpoint; name a remedy. Exits with 1 if bad."""
    findings = list(examine_machine(DataDir(data_dir), port))
    console = screen.create_console()
    for finding in findings:
        console.print(f"{SHOWN[finding.verdict]} {finding.what:<18} {finding.found}")
        if finding.advice:
            console.print(f"{'':<24}{finding.advice}")
    if any(finding.verdict == "bad" for finding in findings):
        raise SystemExit(1)


def examine_machine(data_dir: DataDir, port: int) -> Iterator[Finding]:
    """All findings, in the order in which one would set a machine up."""
    yield _check_python()
    for package in ("torch", "pytorch-lightning"):
        yield _check_package(package)
    yield _check_redis()
    yield from _check_redis_files(data_dir)
    yield _check_disk(data_dir)
    yield _check_keys(data_dir)
    yield _check_port(port)
    yield from _check_endpoint(data_dir)


def _check_python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= (3, 11):  # noqa: UP036 - this is what finds it out
        return Finding("Python", "ok", version)
    return Finding("Python", "bad", version, "install Python 3.11 or newer")


def _check_package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "bad", "not installed", "make setup, or pip install 'foretaste[train]'")


def _check_redis() -> Finding:
    from services.cli.local import embedded_redis
    from shared import settings

    if "FORETASTE_REDIS_URL" in os.environ or "FORETASTE_REDIS_URL_FILE" in os.environ:
        redis_url = settings.load().redis_url
        reason = embedded_redis.find_refusal(redis_url)
        if reason is None:
            return _check_external_redis(redis_url)
        advice = f"{reason}: start it, correct the variable, or unset it to use the embedded server"
        return Finding("Redis", "bad", "no answer at FORETASTE_REDIS_URL", advice)
    try:
        return Finding("Redis", "ok", f"embedded: {embedded_redis.find_binary()}")
    except FileNotFoundError as error:
        return Finding("Redis", "bad", "no embedded server", str(error))


def _check_external_redis(redis_url: str) -> Finding:
    import redis

    found = "answers at FORETASTE_REDIS_URL"
    with redis.Redis.from_url(redis_url, socket_timeout=2.0, decode_responses=True) as client:
        try:
            chosen = client.config_get(*KEEPS)
        except redis.RedisError:  # a managed server may not tell
            return Finding("Redis", "ok", found)
    for name, (keeps, otherwise) in KEEPS.items():
        if name in chosen and chosen[name] not in keeps:
            return Finding("Redis", "note", f"{found}, with {name} {chosen[name]}", otherwise)
    return Finding("Redis", "ok", found)


def _check_redis_files(data_dir: DataDir) -> Iterator[Finding]:
    """Of the embedded server, if one has ever been at work in the folder."""
    from services.cli.local import embedded_redis, redis_files

    if not (data_dir.redis / redis_files.FOLDER).is_dir():
        return
    try:
        found = redis_files.find_damage(data_dir.redis, embedded_redis.find_binary())
    except FileNotFoundError:  # no server; or one that runs has rewritten its files meanwhile
        return
    if found is None:
        yield Finding("Redis files", "ok", str(data_dir.redis / redis_files.FOLDER))
    else:
        yield Finding("Redis files", "bad", f"{found.file} {found.what}", found.advice)


def _check_disk(data_dir: DataDir) -> Finding:
    standing = next(path for path in (data_dir.path, *data_dir.path.parents) if path.exists())
    if not os.access(standing, os.W_OK):
        return Finding("data dir", "bad", f"{standing} is not writable", "choose another --data-dir")
    free = shutil.disk_usage(standing).free
    found = f"{data_dir.path}: {free / 1024**3:.1f} GiB free"
    if free < DISK_BYTES:
        return Finding("data dir", "bad", found, f"make room: at least {DISK_BYTES / 1024**3:.0f} GiB")
    return Finding("data dir", "ok", found)


def _check_keys(data_dir: DataDir) -> Finding:
    try:
        mode = stat.S_IMODE(data_dir.client_env.stat().st_mode)
    except FileNotFoundError:
        return Finding("keys", "note", "none yet", "the first `foretaste up` makes a pair")
    if mode & 0o077:
        advice = f"chmod 600 {data_dir.client_env}"
        return Finding("keys", "bad", f"{data_dir.client_env} is readable by others", advice)
    return Finding("keys", "ok", f"{data_dir.client_env}, readable by you alone")


def _check_port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            advice = "fine if that is foretaste itself; else `up --port` another one"
            return Finding("port", "note", f"{port}: {error.strerror}", advice)
    return Finding("port", "ok", f"{port} is free")


def _check_endpoint(data_dir: DataDir) -> Iterator[Finding]:
    from services.cli.client import find_client_variables
    from services.cli.errors import NoServer
    from services.cli.health import send_ping

    try:
        url = find_client_variables(None, data_dir.path).get("AWS_ENDPOINT_URL_PERSONALIZE", "")
    except NoServer:
        yield Finding("endpoint", "note", "none is known", "start one: foretaste up")
        return
    answer = send_ping(url, 5.0)
    if answer is None:
        yield Finding("endpoint", "note", f"{url} does not answer", "start it: foretaste up")
        return
    yield Finding("endpoint", "ok" if answer.status == 200 else "bad", f"{url} answers {answer.status}")
    skew = (datetime.now(UTC) - parsedate_to_datetime(answer.headers["Date"])).total_seconds()
    verdict: Verdict = "ok" if abs(skew) < SKEW_SECONDS else "bad"
    yield Finding("clock", verdict, f"{skew:+.0f} s beside the server's", "" if verdict == "ok" else "set the clock")
