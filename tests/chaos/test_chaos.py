"""Half a minute of chaos on a running system, of the kinds that are quickly over. ``make chaos`` has more of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.chaos import run, table
from tests.chaos.faults import FAULTS, KINDS, LIGHT
from tests.chaos.ledger import Ledger, Row, reachable

SECONDS = 30.0


def test_nothing_acknowledged_is_lost_in_half_a_minute_of_chaos(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    told: list[str] = []
    outcome = run(tmp_path, seed=1, seconds=SECONDS, kinds=LIGHT, rich=False, say=told.append)
    assert outcome.breaches == [], "\n".join(told)
    rows = outcome.rows.values()
    # It would hold, too, where nothing was done and nothing went wrong.
    assert sum(row.acknowledged for row in rows) > 100
    assert sum(row.times for row in rows) > 5
    assert {"campaign", "dataset_import_job", "filter", "solution_version"} <= set(outcome.ledger.looks)
    record_property("told", f"chaos: {sum(row.acknowledged for row in rows):,} events, {', '.join(told)}")


def test_every_kind_says_what_it_is() -> None:
    assert all(fault.__doc__ for fault in FAULTS.values())
    assert set(LIGHT) < set(KINDS)


def test_an_event_that_is_lost_or_doubled_counts_for_what_happened_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, now = Ledger(), [10.0]
    monkeypatch.setattr("tests.chaos.ledger.time.monotonic", lambda: now[0])
    ledger.strikes("kill")
    ledger.events |= {"a": 10.5, "b": 11.0}
    now[0] = 20.0
    ledger.strikes("cut")
    ledger.events |= {"c": 21.0, "d": None}
    ledger.answered["writer 0"] += [10.5, 11.0, 19.8, 21.0]
    ledger.answered["reader 0"] += [10.5, 12.0]
    rows = ledger.rows({"a": 1, "c": 2})
    for row in rows.values():
        row.write_outage, row.read_outage = round(row.write_outage, 3), round(row.read_outage, 3)
    assert rows == {
        "kill": Row(times=1, acknowledged=2, lost=1, write_outage=8.8, read_outage=1.5),
        "cut": Row(times=1, acknowledged=1, doubled=1, write_outage=1.2),
    }
    assert "| cut | 1 | 1 | 0 | 1 | 1.2 | 0.0 |" in table(rows)


def test_a_status_that_can_not_follow_is_a_breach() -> None:
    ledger = Ledger()
    for status in ("CREATE PENDING", "ACTIVE", "DELETE IN_PROGRESS"):
        ledger.saw("arn", "campaign", status, None)
    assert ledger.breaches == []
    ledger.saw("arn", "campaign", "ACTIVE", None)
    assert ledger.breaches == ["arn was shown as DELETE IN_PROGRESS and then as ACTIVE"]
    assert "CREATE STOPPED" not in reachable("campaign", "CREATE PENDING")
