"""Keeps processes running: starts them, restarts any that dies or hangs, stops all of them within ten seconds.

The supervisor knows nothing of foretaste: ``system.py`` names our processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from services.cli.errors import CannotStart, NotReady
from shared.system.parent_death import with_parent_death_signal

TICK_SECONDS = 0.1
#: All of a stop: SIGTERM, at TERM_SECONDS SIGKILL, then the same for the foundation.
TERM_SECONDS = 7.5
FOUNDATION_SECONDS = 1.5
#: A child that lived for so long did not fail at its start: it is started again at once.
STEADY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 10.0
#: A child that ended so often at its start, and was never ready, counts as unable to start.
HOPELESS_ENDS = 4
LOG_BYTES = 10 * 1024 * 1024
#: A child without a sign of life for so long is killed, and so restarted. By a clock that stands still in a suspended
#: machine: there, no child can give a sign.
SILENCE_SECONDS = 60.0
LOOK_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """A process to keep running.

    ``ready`` is asked with the process id, until it says yes once per start; it must answer within a second
    and not raise. ``descriptors`` stay open in the child under the same numbers. It runs in ``folder``; None: in ours.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[int], bool]
    explain: Callable[[], str | None] | None = None
    """Asked when it ended soon after its start: why, and what to do; None: nobody knows."""
    is_alive: Callable[[int], bool | None] | None = None
    """Asked with the process id, once it was ready: whether it has given a sign of life; None: that cannot be known. It
    must not raise."""
    descriptors: tuple[int, ...] = ()
    folder: Path | None = None


class Supervisor:
    """Runs ``children`` while it is entered, each in a session of its own, its output in ``logs``.

    The ``foundation`` must be ready before any other child is started, and is stopped last. ``say`` receives a sentence
    for each death and each restart. Children are started by one thread that
    lives as long as they do: Linux ends them when that thread dies, and so when this process does
    (``shared.system.parent_death``).
    """

    def __init__(
        self,
        children: Iterable[ChildSpec],
        *,
        logs: Path,
        say: Callable[[str], None],
        foundation: ChildSpec | None = None,
    ) -> None:
        self._foundation = _SupervisedChild(foundation, logs) if foundation else None
        self._others = [_SupervisedChild(child, logs) for child in children]
        self._logs = logs
        self._say = say
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._silence_thread = threading.Thread(target=self._kill_silent_children, name="silence", daemon=True)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._silence_thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every child and wait until they are gone: at most 10 s."""
        self._stopping.set()
        self._thread.join()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the children that run now."""
        return {kept.child.name: kept.process.pid for kept in self._list_children() if kept.process}

    def wait_until_ready(self, seconds: float, *, stopping: threading.Event) -> bool:
        """Wait: True when every child is ready, False when ``stopping`` was set first. Raises NotReady."""
        deadline = time.monotonic() + seconds
        while not stopping.wait(0.05):
            if all(kept.is_ready() for kept in self._list_children()):
                return True
            self._raise_failure()
            if time.monotonic() > deadline:
                late = ", ".join(kept.child.name for kept in self._list_children() if not kept.is_ready())
                raise NotReady(f"not ready after {seconds:.0f} s: {late}; see the logs in {self._logs}")
        return False

    def watch(self, stopping: threading.Event) -> None:
        """Return when ``stopping`` is set. Raise the error that ended the supervision itself, if any."""
        while not stopping.wait(1.0):
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _list_children(self) -> list[_SupervisedChild]:
        return [self._foundation, *self._others] if self._foundation else self._others

    def _supervise(self) -> None:
        try:
            self._keep_running()
        except BaseException as failure:
            self._failure = failure
        finally:
            _end_all(self._others, TERM_SECONDS)
            _end_all([self._foundation] if self._foundation else [], FOUNDATION_SECONDS)

    def _keep_running(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            for kept in self._list_children():
                if kept.process and (status := kept.process.poll()) is not None:
                    self._say(kept.record_end(status))
                    self._raise_if_blocked(kept)
                if kept.is_due() and (kept is self._foundation or self._is_foundation_ready()):
                    self._start_child(kept)

    def _kill_silent_children(self) -> None:
        # In a thread of its own: a store that hangs may hold up the answer.
        while not self._stopping.wait(LOOK_SECONDS):
            for kept in self._others:
                if kept.is_silent():
                    self._say(f"{kept.child.name} has given no sign of life for {SILENCE_SECONDS:.0f} s")
                    kept.kill()

    def _raise_if_blocked(self, kept: _SupervisedChild) -> None:
        """Raises CannotStart where all wait for one that can't start: trying again won't help."""
        why = kept.explain_end()
        if why is None:
            return
        if kept is self._foundation and not kept.was_ready:
            raise CannotStart(why)
        self._say(why)

    def _is_foundation_ready(self) -> bool:
        return self._foundation is None or self._foundation.is_ready()

    def _start_child(self, kept: _SupervisedChild) -> None:
        try:
            kept.start()
        except OSError as error:
            self._say(kept.describe_failure(str(error)))


class _SupervisedChild:
    """A child, the process that runs it now, and how well it has been doing."""

    def __init__(self, child: ChildSpec, logs: Path) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.log = logs / f"{child.name}.log"
        self._ready_pid: int | None = None
        self._started = 0.0
        self._due = 0.0
        self._early_ends = 0
        self._silent_pid: int | None = None
        self._silent_since = 0.0
        self.was_ready = False
        """At any start."""

    def is_due(self) -> bool:
        return self.process is None and time.monotonic() >= self._due

    def is_ready(self) -> bool:
        process = self.process
        if process is None:
            return False
        if self._ready_pid != process.pid and self.child.ready(process.pid):
            self._ready_pid = process.pid
            self.was_ready = True
        return self._ready_pid == process.pid

    def is_silent(self) -> bool:
        """Ask for a sign of life; return whether there was none for SILENCE_SECONDS."""
        process = self.process
        if process is None or self.child.is_alive is None or self._ready_pid != process.pid:
            return False
        if self.child.is_alive(process.pid) is not False:
            self._silent_pid = None
        elif self._silent_pid != process.pid:
            self._silent_pid, self._silent_since = process.pid, time.monotonic()
        return self._silent_pid is not None and time.monotonic() - self._silent_since >= SILENCE_SECONDS

    def kill(self) -> None:
        process, self._silent_pid = self.process, None
        if process is not None:
            process.kill()

    def start(self) -> None:
        """Raises OSError."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        self._started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                with_parent_death_signal(*self.child.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.child.environment),
                cwd=self.child.folder,
                pass_fds=self.child.descriptors,
                start_new_session=True,
            )

    def record_end(self, status: int) -> str:
        """Record the end of the process and stop its leftovers; return the sentence to print."""
        assert self.process  # noqa: S101 - only a process that ran can have ended
        self.signal_group(signal.SIGKILL)
        self.process = None
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return self.describe_failure(how)

    def describe_failure(self, how: str) -> str:
        early = time.monotonic() - self._started < STEADY_SECONDS
        self._early_ends = self._early_ends + 1 if early else 0
        # One early end is an accident: only a child that keeps ending waits before its restart.
        delay = min(0.25 * 2 ** (self._early_ends - 1), LONGEST_DELAY_SECONDS) if self._early_ends > 1 else 0.0
        self._due = time.monotonic() + delay
        if not delay:
            return f"{self.child.name} {how}; starting it again"
        return (
            f"{self.child.name} {how}, {self._early_ends} times in a row; starting it again in {delay:g} s. "
            f"Its log: {self.log}"
        )

    def explain_end(self) -> str | None:
        """Why it ended as early as it did, where that is known; or its last words, when it was never ready."""
        if self.child.explain is None or not self._early_ends:
            return None
        why = self.child.explain()
        if why is None and not self.was_ready and self._early_ends >= HOPELESS_ENDS:
            return f"{self.child.name} can't start. The last words of its log, {self.log}: {self._read_log_tail()}"
        return why

    def _read_log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "none")

    def terminate(self) -> None:
        if self.process:
            self.process.terminate()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and its descendants; it leads its own group."""
        assert self.process  # noqa: S101 - as above
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            # The group is empty. (macOS answers EPERM for a group of nothing but zombies.)
            return


def _end_all(running: Sequence[_SupervisedChild], seconds: float) -> None:
    for kept in running:
        kept.terminate()
    deadline = time.monotonic() + seconds
    for kept in running:
        if kept.process is None:
            continue
        try:
            kept.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            kept.signal_group(signal.SIGKILL)
            kept.process.wait()
        kept.signal_group(signal.SIGKILL)
        kept.process = None
