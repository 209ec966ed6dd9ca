"""What a life under chaos was promised, what it saw, and what did not hold."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.unit.state_machine import rules

#: Who is not answered any more because of a disruption was answered so long before it, at most (seconds).
AT_ONCE = 0.5


@dataclass
class Window:
    """The time from one disruption to the next. Times are of ``time.monotonic``."""

    kind: str
    begun: float


@dataclass
class Row:
    """Of the table: what happened during all disruptions of a kind. Outages are in seconds."""

    times: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    write_outage: float = 0.0
    read_outage: float = 0.0


@dataclass
class Ledger:
    """Safe to share between threads."""

    windows: list[Window] = field(default_factory=list)
    #: Event id -> when it was acknowledged; None: not yet.
    events: dict[str, float | None] = field(default_factory=dict)
    #: Of each writer and reader: when it was answered well.
    answered: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    made: dict[str, str] = field(default_factory=dict)
    """ARN -> kind, of what a Create has answered."""
    removed: set[str] = field(default_factory=set)
    """ARNs of which the deletion was asked."""
    gone: set[str] = field(default_factory=set)
    """ARNs of which the deletion was answered well."""
    statuses: dict[str, str | None] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """Resources that have failed, with their reasons. That is no breach: it is said."""
    breaches: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def breach(self, what: str) -> None:
        with self._lock:
            if what not in self.breaches:
                self.breaches.append(what)

    def strikes(self, kind: str) -> None:
        self.windows.append(Window(kind, time.monotonic()))

    def kind_at(self, at: float) -> str:
        return next((one.kind for one in reversed(self.windows) if one.begun <= at), "none")

    def _cause(self, begun: float, ended: float) -> str:
        """What happened last before, or as soon as, an answer stayed away."""
        return self.kind_at(min(begun + AT_ONCE, ended))

    def saw(self, arn: str, kind: str, status: str | None, reason: str | None) -> None:
        """A resource was shown in this status."""
        self.looks[kind] += 1
        before = self.statuses.get(arn, status)
        if status != before and status not in reachable(kind, before):
            self.breach(f"{arn} was shown as {before} and then as {status}")
        if status in rules.FAILED and before != status:
            self.failures.append(f"{arn}: {reason}")
        self.statuses[arn] = status

    def rows(self, kept: Mapping[str, int]) -> dict[str, Row]:
        """By kind of disruption; ``kept`` counts how often each event id is kept."""
        rows: dict[str, Row] = {one.kind: Row() for one in self.windows}
        for window in self.windows:
            rows[window.kind].times += 1
        for event_id, at in self.events.items():
            row = rows[self.kind_at(at or time.monotonic())]
            row.acknowledged += at is not None
            row.lost += at is not None and not kept.get(event_id)
            row.doubled += kept.get(event_id, 0) > 1
        for who, times in self.answered.items():
            for begun, ended in itertools.pairwise(times):
                row = rows[self._cause(begun, ended)]
                if who.startswith("writer"):
                    row.write_outage = max(row.write_outage, ended - begun)
                else:
                    row.read_outage = max(row.read_outage, ended - begun)
        return rows


def reachable(kind: str, status: str | None) -> set[str | None]:
    """Every status that a resource may come to from this one: who looks now and then does not see each on the way."""
    moves = rules.moves(kind) | ({("CREATE FAILED", "ACTIVE")} if kind in rules.UPDATES else set())
    moves |= {(a, b) for a, b in rules.update_moves(kind) if a is not None and rules.UPDATES[kind] == "UPDATE PENDING"}
    found: set[str | None] = set()
    ahead = [status]
    while ahead:
        at = ahead.pop()
        new = {after for before, after in moves if before == at} - found
        found |= new
        ahead += new
    return found
