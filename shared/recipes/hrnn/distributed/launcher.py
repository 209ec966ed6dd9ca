"""Rank zero's side of a training in several processes: it starts the other ranks, watches them, and ends them.

No rank outlives rank zero, and rank zero never waits for a dead rank. It starts the ranks of its own machine;
``workers/training/node.py`` starts those of further nodes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import structlog
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined, unused-ignore]
from torch.distributed.distributed_c10d import Store

from shared.jobs.entrypoint import WorkFailed
from shared.recipes.hrnn.distributed.process_group import Address, RankAssignment, connect_store, join_group
from shared.recipes.hrnn.rank import Rank
from shared.recipes.training_api import TrainingContext
from shared.system.parent_death import module_with_parent_death_signal, with_our_packages

log = structlog.get_logger()

JOIN_SECONDS = 300.0
"""The time in which all ranks must arrive."""

POLL_SECONDS = 0.2

NOTICE_SECONDS = 2.0
"""A process's death is noticed within this time of the error that it causes in other ranks."""

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"


@contextlib.contextmanager
def launch_ranks(path: Path, context: TrainingContext, on_wait: Callable[[], None], *, cuda: bool) -> Iterator[Rank]:
    """Make this process rank zero of the processes that ``context`` asks for; the other ranks load the fit at ``path``.

    ``on_wait`` is called while it waits for them, and may raise. Raises WorkFailed if a rank dies or does not arrive.
    Afterwards no other rank runs, even after an error.
    """
    size = context.processes * context.nodes
    assignment = RankAssignment(path=str(path), processes=context.processes, size=size, name=uuid.uuid4().hex)
    with contextlib.ExitStack() as leaving:
        if context.nodes == 1:
            leaving.enter_context(_use_loopback())
        store = _create_store(context, on_wait)
        leaving.callback(store.set, "over", "1")
        store.set("order", json.dumps(asdict(assignment)))
        here = ("127.0.0.1", store.port)
        processes = RankProcesses(range(1, assignment.processes), assignment, here, context.gpus)
        leaving.callback(processes.kill_all)
        monitor = _RankMonitor(processes, connect_store(here), size)
        leaving.callback(monitor.stop_watching)
        try:
            monitor.wait_for_ranks(on_wait)
            yield join_group(store, Rank(0, size), cuda=cuda)
        except BaseException as error:
            reason = monitor.find_reason(error)
            # No collective may wait for the other ranks any more.
            monitor.abort_group()
            if reason:
                log.warning("rank lost", reason=reason, error=str(error))
                raise WorkFailed(reason) from error
            raise
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()


def parse_address(master: str) -> Address:
    """Parse "host:port". Raises WorkFailed."""
    host, _, port = master.rpartition(":")
    if not host or not port.isdecimal():
        raise WorkFailed(f"FORETASTE_TRAINING_MASTER must be host:port; it is {master!r}.")
    return host.strip("[]"), int(port)


class RankProcesses:
    """The ranks that this process has started on its machine. They end with it."""

    def __init__(
        self,
        places: Sequence[int],
        assignment: RankAssignment,
        address: Address,
        devices: Sequence[int],
        first: int = 0,
    ) -> None:
        """``places`` are indices among the machine's processes, of which index 0 is rank ``first``."""
        self._size = assignment.size
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for place in places:
                arguments = (*address, first + place, place, ",".join(map(str, devices)))
                self._processes[first + place] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    module_with_parent_death_signal("shared.recipes.hrnn.distributed.worker", *map(str, arguments)),
                    stdin=subprocess.PIPE,
                    stdout=2,  # the job's stdout carries its results
                    env={"OMP_WAIT_POLICY": "passive", "TORCH_CPP_LOG_LEVEL": "ERROR", **with_our_packages(os.environ)},
                )
        except BaseException:
            self.kill_all()
            raise

    def find_lost_rank(self) -> str | None:
        """Return why a rank died; None if all are running or have ended well."""
        dead = [(code, number) for number, process in self._processes.items() if (code := process.poll())]
        if not dead:
            return None
        # A killed rank (negative code) makes further ranks fail, which then exit with an error of their own.
        code, number = min(dead)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"Process {number} of the {self._size} that trained together died: {how}. The worker's log says more."

    def kill_all(self) -> None:
        """Kill the ranks that still run, and wait for their end."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            process.stdin.close()


class _RankMonitor:
    """Notices the death of a rank, and aborts all waiting for it."""

    def __init__(self, processes: RankProcesses, store: Store, size: int) -> None:
        self._started = processes
        self._store = store
        self._size = size
        self._over = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._watch_ranks, name="ranks", daemon=True)
        self._thread.start()

    def _watch_ranks(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            said = self._store.get("lost").decode() if self._store.check(["lost"]) else None
            self._lost = self._started.find_lost_rank() or said
            if self._lost:
                self._started.kill_all()
                self.abort_group()
                return

    def abort_group(self) -> None:
        """Abort this process's collectives: calls that wait for other ranks raise."""
        with contextlib.suppress(RuntimeError):
            if (group := distributed.group.WORLD) is not None:
                group.abort()

    def wait_for_ranks(self, on_wait: Callable[[], None]) -> None:
        deadline = time.monotonic() + JOIN_SECONDS
        while (come := 1 + self._store.add("arrived", 0)) < self._size:
            on_wait()
            if self._lost:
                raise WorkFailed(self._lost)
            if time.monotonic() > deadline:
                raise WorkFailed(
                    f"Of {self._size} processes that were to train together {come} came within {JOIN_SECONDS:g} "
                    "seconds. On each further node `python -m workers.training.node` must run."
                )
            time.sleep(POLL_SECONDS)

    def find_reason(self, error: BaseException) -> str | None:
        """Return the reason for this error if the loss of a rank caused it, else None."""
        if not isinstance(error, RuntimeError):
            return None
        deadline = time.monotonic() + NOTICE_SECONDS
        while not self._lost and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self._lost:
            return self._lost
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            return "The processes that trained together lost each other. The worker's log says more."
        return None

    def stop_watching(self) -> None:
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def _use_loopback() -> Iterator[None]:
    """Bind the ranks' connections to the loopback interface, where no other machine can read them."""
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, LOOPBACK))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _create_store(context: TrainingContext, on_wait: Callable[[], None]) -> TCPStore:
    """Open the store, for this machine alone or at the nodes' meeting point, once no other training uses that."""
    place = ("127.0.0.1", 0) if context.nodes == 1 else ("", parse_address(context.options.master or "")[1])
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    while True:
        try:
            listening.bind(place)
            listening.listen()
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            on_wait()
            time.sleep(POLL_SECONDS)
    port = listening.getsockname()[1]
    return TCPStore(
        "127.0.0.1",
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=30),
        master_listen_fd=listening.detach(),
    )
