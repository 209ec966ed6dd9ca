"""The driver: a life, faults in turn, then peace, then everything must be as promised."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.aws import arns
from shared.data.live_events import iter_live_events
from shared.state.lifecycle import TERMINAL
from shared.storage.artifacts import Artifacts
from tests.chaos.faults import CLOCK, FAULTS, SKEWS, UNNOTICED, Chaos, clock_path
from tests.chaos.ledger import Ledger, Row
from tests.chaos.life import Life
from tests.conftest import ROOT, System, start_system, stop_system

#: What a chaotic system is told: it must not give work up for having been killed too often.
HASTE: Mapping[str, str] = {
    "FORETASTE_LEASE_SECONDS": "3",
    "FORETASTE_RING_AFTER_SECONDS": "2",
    "FORETASTE_MAX_ATTEMPTS": "200",
    "FORETASTE_DELETION_SECONDS": "0.5",
    # Of a small disk; what fills it takes these too.
    "FORETASTE_MIN_FREE_MB": "16",
    **{f"FORETASTE_{work}_SILENCE_SECONDS": "8" for work in ("IMPORT", "TRAINING", "TRIAL", "TUNING", "DEPLOY")},
    "FORETASTE_LIVE_EVENTS_MOST": "200",
    "FORETASTE_RETRAIN_ON_ALL_USERS": "false",
    "FORETASTE_RECIPES": "benchmarks.tuning.sleeping",
}
#: From the end of one fault to the beginning of the next (seconds).
CALM = (1.0, 4.0)
#: Nothing may be as it was for so long after the last fault, unless it has settled (seconds).
STUCK = 60.0
#: How long those who were at something may take to finish it (seconds).
FINISHING = 300.0
DISK_MIB = 200


@dataclass(frozen=True)
class Outcome:
    rows: Mapping[str, Row]
    ledger: Ledger

    @property
    def breaches(self) -> Sequence[str]:
        return self.ledger.breaches


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of its own, in memory: what fills it harms nobody else. Needs root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def running(folder: Path, kinds: Sequence[str], chance: random.Random, say: Any) -> Iterator[System]:
    told = dict(HASTE)
    if CLOCK in kinds:
        told["CHAOS_SKEW"] = chance.choice(SKEWS)
        told["PYTHONPATH"] = os.pathsep.join([str(clock_path()), str(ROOT), os.environ.get("PYTHONPATH", "")])
        say(f"the clock of {told['CHAOS_SKEW'].replace('=', ' is off by ')} s")
    disk = small_disk(folder) if "full" in kinds else contextlib.nullcontext(folder)
    with disk as place:
        system = start_system(place, **told)
        try:
            yield system
        finally:
            stop_system(system, 30)


def run(
    folder: Path, *, seed: int, seconds: float, kinds: Sequence[str], rich: bool, say: Any, logs: str | None = None
) -> Outcome:
    """Faults of these kinds for so many seconds. ``logs``: where those of a run with a breach are kept."""
    chance = random.Random(seed)
    with running(folder, kinds, chance, say) as system:
        life = Life(system, seed, rich=rich)
        life.ledger.strikes("none")
        life.begin()
        chaos = Chaos(system, life.ledger, chance)
        time.sleep(CALM[1])  # to compare with
        _strike(chaos, [kind for kind in kinds if kind in FAULTS], seconds, say)
        # What is done from here on is done in peace.
        life.ledger.strikes("none")
        life.end(FINISHING)
        _settle(life)
        events = iter_live_events(chaos.store, Artifacts(system.folder / "artifacts"), life.dataset)
        kept = Counter(str(event.event_id) for event in events)
        rows = life.ledger.rows(kept)
        _check(life, kept)
        for kind, most in UNNOTICED.items():
            if kind in rows and max(rows[kind].write_outage, rows[kind].read_outage) > most:
                life.ledger.breach(f"{kind}: others were not answered for more than {most:.0f} s")
        if logs and life.ledger.breaches:
            shutil.copytree(system.folder / "logs", logs, dirs_exist_ok=True)
    return Outcome(rows, life.ledger)


def _strike(chaos: Chaos, kinds: Sequence[str], seconds: float, say: Any) -> None:
    """Each kind as often as any other, in an order that chance decides."""
    end = time.monotonic() + seconds
    begun, ahead = time.monotonic(), list[str]()
    while time.monotonic() < end:
        ahead = ahead or chaos.chance.sample(kinds, len(kinds))
        if not ahead:
            time.sleep(max(end - time.monotonic(), 0))
            return
        kind = ahead.pop()
        chaos.ledger.strikes(kind)
        say(f"{time.monotonic() - begun:6.1f} s {kind}")
        FAULTS[kind](chaos)
        time.sleep(chaos.chance.uniform(*CALM))


def _settle(life: Life) -> None:
    """Wait until all has come to rest. A breach where for a minute nothing at all has changed, and it has not."""
    client = life.client("personalize")
    changed, before = time.monotonic(), None
    while True:
        shown = {arn: life.look(client, arn) for arn in life.ledger.made if arn not in life.ledger.gone}
        moving = {arn: ahead for arn, one in shown.items() if one is not None and (ahead := _moving(one))}
        if not moving:
            return
        if moving != before:
            changed, before = time.monotonic(), moving
        elif time.monotonic() - changed > STUCK:
            for arn, status in moving.items():
                life.ledger.breach(f"{arn} is stuck in {status}")
            return
        time.sleep(1.0)


def _moving(shown: Mapping[str, Any]) -> str | None:
    """The status, of it or of its update, that will change by itself."""
    updates = (value["status"] for member, value in shown.items() if member.startswith("latest") and "Update" in member)
    return next((status for status in (shown["status"], *updates) if status not in TERMINAL), None)


def _check(life: Life, kept: Mapping[str, int]) -> None:
    ledger, client = life.ledger, life.client("personalize")
    for event_id, at in ledger.events.items():
        if at is not None and not kept.get(event_id):
            ledger.breach(f"the event {event_id} was acknowledged and is lost")
        if kept.get(event_id, 0) > 1:
            ledger.breach(f"the event {event_id} is kept {kept[event_id]} times")
    for event_id in kept.keys() - ledger.events.keys():
        ledger.breach(f"the event {event_id} is kept and was never sent")
    for arn in ledger.gone:
        if life.look(client, arn) is not None:
            ledger.breach(f"the deletion of {arn} was acknowledged, and it is there")
    for kind in sorted({arns.parse_noun(arn) or "" for arn in ledger.made}):
        _check_list(life, client, kind)


def _check_list(life: Life, client: Any, kind: str) -> None:
    """A list shows what is there, as Describe does."""
    pages = client.get_paginator(f"list_{kind}s").paginate()
    rows = [row for page in pages for value in page.values() if isinstance(value, list) for row in value]
    listed = {
        next(value for member, value in row.items() if member.endswith("Arn") and arns.parse_noun(value) == kind): row
        for row in rows
    }
    for arn, row in listed.items():
        shown = life.look(client, arn)
        if shown is not None and shown["status"] != row.get("status"):
            life.ledger.breach(f"{arn} is listed as {row.get('status')} and described as {shown['status']}")
    standing = {arn for arn in life.ledger.made if arns.parse_noun(arn) == kind and life.look(client, arn) is not None}
    for arn in standing - listed.keys():
        life.ledger.breach(f"{arn} is described, and not listed")


def table(rows: Mapping[str, Row]) -> str:
    """In Markdown."""
    head = ["disruption", "times", "acknowledged", "lost", "doubled", "longest time without a write, s", "a read, s"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for kind, row in rows.items():
        cells = [kind, row.times, f"{row.acknowledged:,}", row.lost, row.doubled]
        lines.append("| " + " | ".join(map(str, [*cells, f"{row.write_outage:.1f}", f"{row.read_outage:.1f}"])) + " |")
    return "\n".join(lines)
