"""The kinds of fault, by name. Each strikes for a while, and heals itself; where it can't be made here, it says so."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from kombu.exceptions import OperationalError

from benchmarks.serving.further import redis_url
from shared.jobs import celery_app
from shared.resources import RESOURCES
from shared.settings import Settings
from shared.state.messages import BY_WIRE, COMMANDS, Failed, Finished, Remove, Started
from shared.store.redis import RedisStore
from tests.chaos.ledger import Ledger
from tests.conftest import System, processes

SERVER = "valkey-server"
#: Parts of command lines.
SERVICES = ("services.api", "services.runtime", "services.events", "services.gateway", "services.status")
WORKERS = ("workers.importing.app", "workers.training.app", "workers.tuning.app")
JOBS = ("workers.importing.import_job", "workers.training.job")
QUEUES = ("status", "importing", "training", "tuning")


@dataclass
class Chaos:
    """What a fault works with."""

    system: System
    ledger: Ledger
    chance: random.Random

    def __post_init__(self) -> None:
        self.url = redis_url(self.system.folder)
        self.store = RedisStore(self.url)
        self.app = celery_app.create_celery_app(Settings(redis_url=self.url))
        self.sending = celery_app.MessageQueue(self.app)

    def pids(self, *parts: str) -> list[int]:
        """Of one of these parts that runs."""
        for part in self.chance.sample(parts, len(parts)):
            if found := processes(self.system, part):
                return found
        return []

    def signal(self, how: signal.Signals, *parts: str) -> list[int]:
        sent = []
        for pid in self.pids(*parts):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
                sent.append(pid)
        return sent

    @contextlib.contextmanager
    def stopped(self, *parts: str) -> Iterator[list[int]]:
        """SIGSTOP one of these parts for the length of the block."""
        pids = self.signal(signal.SIGSTOP, *parts)
        try:
            yield pids
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)


Fault = Callable[[Chaos], None]


def kill(chaos: Chaos) -> None:
    """kill -9 of any process but Redis."""
    chaos.signal(signal.SIGKILL, *SERVICES, *WORKERS, *JOBS)


def stop(chaos: Chaos) -> None:
    """Any process but Redis does nothing for a while."""
    with chaos.stopped(*SERVICES, *WORKERS):
        time.sleep(chaos.chance.choice((1.0, 4.0, 8.0)))


def redis_kill(chaos: Chaos) -> None:
    """kill -9 of Redis."""
    chaos.signal(signal.SIGKILL, SERVER)


def redis_stop(chaos: Chaos) -> None:
    """Redis does nothing for a while."""
    with chaos.stopped(SERVER):
        time.sleep(chaos.chance.choice((1.0, 4.0, 8.0)))


def cut(chaos: Chaos) -> None:
    """Every connection to Redis is dropped, again and again, between a command and its answer or not."""
    client = chaos.redis()
    for _ in range(chaos.chance.choice((1, 5, 20))):
        with contextlib.suppress(redis.RedisError):
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.1)


def torn(chaos: Chaos) -> None:
    """Redis dies in the middle of a write: its file ends with half a command, of which nobody was told."""
    with chaos.stopped(SERVER) as pids:
        for log in (chaos.system.folder / "redis" / "appendonlydir").glob("*.incr.aof"):
            with log.open("ab") as file:
                file.write(b"*3\r\n$3\r\nSET\r\n$9\r\nforeta")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def full(chaos: Chaos) -> None:
    """The disk of the data folder has no room for some seconds."""
    filler = chaos.system.folder / "filler"
    end = time.monotonic() + chaos.chance.choice((2.0, 6.0))
    try:
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < end:
                # What becomes free meanwhile, too.
                for size in (2**20, 2**12):
                    with contextlib.suppress(OSError):
                        while file.write(b"\0" * size):
                            continue
                time.sleep(0.05)
    finally:
        filler.unlink(missing_ok=True)


def doubled(chaos: Chaos) -> None:
    """Commands come again for whatever there is, and reports of what has ended, and of earlier attempts."""
    for arn in chaos.chance.sample(sorted(chaos.ledger.made), min(len(chaos.ledger.made), 12)):
        with contextlib.suppress(redis.RedisError):
            record = chaos.store.get(arn)
            if record is None:
                continue
            for command in {RESOURCES[record.kind].get_command(record) or Remove, Remove}:
                _send(chaos, command(arn=arn))
            attempt = record.attempt - (record.in_progress is not None)
            for fact in (
                Started(arn=arn, attempt=attempt),
                Finished(arn=arn, attempt=attempt - 1),
                Failed(arn=arn, attempt=attempt - 1, reason="an earlier attempt"),
            ):
                _send(chaos, fact)


def _send(chaos: Chaos, message: Any) -> None:
    with contextlib.suppress(OSError, redis.RedisError, OperationalError):
        chaos.sending.send(message)


#: Turns a list round, takes every second of it away, or has each of it twice.
LISTS: Mapping[str, str] = {
    "reordered": "local l = redis.call('lrange', KEYS[1], 0, -1) redis.call('del', KEYS[1])"
    " for _, m in ipairs(l) do redis.call('lpush', KEYS[1], m) end return #l",
    "lost": "local l = redis.call('lrange', KEYS[1], 0, -1) redis.call('del', KEYS[1])"
    " for i, m in ipairs(l) do if i % 2 == 0 then redis.call('rpush', KEYS[1], m) end end return #l",
    "repeated": "local l = redis.call('lrange', KEYS[1], 0, -1)"
    " for _, m in ipairs(l) do redis.call('lpush', KEYS[1], m) end return #l",
}


def _lists(name: str) -> Fault:
    def strike(chaos: Chaos) -> None:
        with contextlib.suppress(redis.RedisError), chaos.stopped(*CONSUMERS):
            time.sleep(chaos.chance.choice((0.5, 2.0)))
            for each in QUEUES:
                chaos.redis().eval(LISTS[name], 1, f"foretaste:queue:{each}")

    strike.__doc__ = f"What has gathered on the queues while a consumer was stopped is {name}."
    return strike


CONSUMERS = ("services.status", "workers.importing.app", "workers.training.app")


def malformed(chaos: Chaos) -> None:
    """Messages with other members, of unknown names, and about what never was."""
    for each in QUEUES:
        with contextlib.suppress(redis.RedisError, OperationalError):
            wire = chaos.chance.choice(
                [command.wire for command in COMMANDS if command.get_queue_name() == each] or [each]
            )
            chaos.app.send_task(wire, kwargs={"colour": "red"}, queue=each)
            chaos.app.send_task(f"{each}.no_such_task", kwargs={}, queue=each)
            chaos.app.send_task(wire, kwargs={"arn": "arn:of:nothing"}, queue=each)


def poison(chaos: Chaos) -> None:
    """Messages of Celery's form with an empty list for a body."""
    for each in QUEUES:
        with contextlib.suppress(redis.RedisError, OperationalError), chaos.app.producer_or_acquire() as producer:
            wire = next(wire for wire, message in BY_WIRE.items() if message.get_queue_name() == each)
            headers = {"task": wire, "id": "poison", "lang": "py"}
            producer.publish([], serializer="json", routing_key=each, exchange="", headers=headers)


def garbage(chaos: Chaos) -> None:
    """What is no message at all, where messages lie."""
    for each in QUEUES:
        with contextlib.suppress(redis.RedisError):
            chaos.redis().lpush(f"foretaste:queue:{each}", "no message at all")


def slow(chaos: Chaos) -> None:
    """Half heads, bodies of a byte a second, and connections that say nothing."""
    port = urlsplit(chaos.system.environment["AWS_ENDPOINT_URL_PERSONALIZE"]).port
    open_: list[socket.socket] = []
    try:
        for number in range(40):
            one = socket.create_connection(("127.0.0.1", port or 80), timeout=5)
            open_.append(one)
            if number % 4 == 1:
                one.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half")
            elif number % 4 == 2:
                one.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")
        for _ in range(chaos.chance.choice((3, 8))):
            time.sleep(1.0)
            for one in open_:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
    except OSError as error:
        chaos.ledger.failures.append(f"no slow connection could be opened: {error}")
    finally:
        for one in open_:
            one.close()


def hung(chaos: Chaos) -> None:
    """The process of a job does nothing any more, for good, while its worker lives."""
    chaos.signal(signal.SIGSTOP, *JOBS)


FAULTS: Mapping[str, Fault] = {
    "kill": kill,
    "stop": stop,
    "redis-kill": redis_kill,
    "redis-stop": redis_stop,
    "cut": cut,
    "torn": torn,
    "doubled": doubled,
    "repeated": _lists("repeated"),
    "reordered": _lists("reordered"),
    "lost": _lists("lost"),
    "malformed": malformed,
    "full": full,
    "slow": slow,
    "poison": poison,
    "garbage": garbage,
    "hung": hung,
}
#: What others must not notice: nobody waits for an answer for longer than so many seconds.
UNNOTICED: Mapping[str, float] = dict.fromkeys(("slow", "doubled", "malformed", "poison", "garbage"), 5.0)
#: Of one process of the system, from its beginning on: not a fault that strikes.
CLOCK = "clock"
KINDS = (*FAULTS, CLOCK)
#: What is quickly over, and what a system that is up for half a minute gets over.
LIGHT = ("kill", "redis-kill", "cut", "doubled", "repeated", "reordered", "lost", "malformed")
SKEWS = (
    *("workers.importing.app=600", "workers.training.app=600", "workers.training.app=-600"),
    *("services.api=600", "services.status=-3600"),
)


def clock_path() -> Path:
    """What goes before the path of every process, so that one of them can have a wrong clock."""
    return Path(__file__).parent / "clock"
