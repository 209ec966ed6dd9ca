"""The training benchmark in miniature: its commands run, and their figures are sane."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import ours
from benchmarks.training import catalogues, curve, made_up, memory, roofline, speed, updates
from benchmarks.training.steady import Steady, drained
from shared.recipes.hrnn import trainer
from shared.recipes.hrnn.sequence_packing import Streams
from tests.recipes.runs import planned
from tests.recipes.synthetic import histories_of


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 0.05)
    monkeypatch.setattr(roofline, "COPIED", {"cpu": 2**24})


def write(folder: Path, events: int = 3000, items: int = 60) -> Path:
    made = made_up.interactions(events, items=items)
    users = np.repeat(np.arange(len(made.user_ids)), made.lengths)
    rows = zip(users.tolist(), made.items.tolist(), made.timestamps.tolist(), strict=True)
    folder.mkdir()
    lines = "".join(f"u{user},i{item},{time}\n" for user, item, time in rows)
    (folder / "interactions.csv").write_text("USER_ID,ITEM_ID,TIMESTAMP\n" + lines)
    return folder


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def number(text: str) -> float:
    return float(text.replace(",", "").removesuffix("%"))


def test_speed_prints_training_the_loader_and_the_roofline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speed.show(write(tmp_path / "few"), hidden=32, cell="linear", threads=1, seconds=0.5, peers=[])
    out = capsys.readouterr().out
    rows = [cells(line) for line in out.splitlines() if line.startswith("| foretaste")]
    training, loader = rows
    assert number(training[1]) > 100
    assert number(loader[1]) > number(training[1])
    assert number(training[5]) == 1.0
    assert re.search(r"FLOPs of an event.*= 6 x \([\d,]+ weights of the cell \+ 60 items x 33\)", out)
    share = re.search(r"([\d.e-]+) of the float32 roofline, target 0.5", out)
    assert share is not None
    assert 0 < float(share[1]) < 1


def test_the_loader_gathers_what_training_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network multiplies in bfloat16 and nobody takes a thing twice: spans, and no pairs of each event."""
    monkeypatch.setattr(trainer, "has_bfloat16_units", lambda _: True)
    monkeypatch.setattr(Streams, "build_queries", None)
    histories = histories_of({f"u{n}": [(f"i{k}", k) for k in range(8)] for n in range(9)})
    steps = ours.load_steps(histories, ours.Setting(parameters={"hidden_dimension": "32"}))
    assert next(steps) == 72


def test_the_table_of_catalogues_runs_on_a_cpu_as_it_does_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    catalogues.show(hidden=[32], items=[100, 20_000], events=4000, cell="linear", threads=1, seconds=0.3)
    rows = [cells(line) for line in capsys.readouterr().out.splitlines() if line.startswith("| 32")]
    assert [row[1] for row in rows] == ["100", "20,000"]
    for row in rows:
        assert number(row[2]) > 0
        assert 0 <= number(row[7]) < 100
        assert 0 <= number(row[8]) < 100


def test_memory_is_that_of_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    memory.show(events=20_000, items=200, hidden=32, threads=1, seconds=0.3, folder=tmp_path)
    [row] = [cells(line) for line in capsys.readouterr().out.splitlines()[-1:]]
    before, peak = number(row[0]), number(row[1])
    assert 50 < before < peak < before + 1000
    assert number(row[3]) > 0


def test_the_curve_has_a_point_each_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve.show(write(tmp_path / "few"), hidden=32, cell="linear", threads=1, epochs=2, sample=10)
    out = capsys.readouterr().out
    points = [cells(line) for line in out.splitlines() if re.match(r"\| \d", line)]
    assert len(points) >= 2
    assert number(points[1][1]) > number(points[0][1])
    assert "test, the last event of everybody" in out


def test_made_up_histories_are_in_order_and_of_the_size_wanted() -> None:
    made = made_up.interactions(10_000, items=500)
    assert len(made.items) == made.offsets[-1] == 10_000
    assert made.items.max() < 500
    within = np.ones(9999, np.bool_)
    within[made.offsets[1:-1] - 1] = False
    assert (np.diff(made.timestamps)[within] > 0).all()
    counts = np.bincount(made.items, minlength=500)
    assert counts[:50].sum() > counts[-50:].sum()


def test_steady_steps_leave_out_the_first() -> None:
    steady = Steady(seconds=60, warm_up=2)
    assert all(steady.step(10) for _ in range(5))
    assert steady.speed.steps == 3
    assert steady.speed.events == 30


def test_draining_ends_in_time() -> None:
    found = drained(itertools.repeat(7), 0.05)
    assert 0.05 <= found.wall < 1
    assert found.events == 7 * found.steps


def test_rates_of_the_machine_are_of_this_world() -> None:
    assert 1e8 < roofline.gemm_rate(torch.float32, "cpu", shape=(256, 256, 256)) < 1e14


def test_updates_prints_an_update_between_two_trainings_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(monkeypatch, epochs=2)
    updates.show(write(tmp_path / "few"), hidden=32, threads=1, share=0.1)
    out = capsys.readouterr().out
    assert "300 of 3,000 interactions are new" in out
    before, update, full = (cells(line) for line in out.splitlines() if line.startswith(("| FULL", "| UPDATE")))
    assert [number(row[1]) for row in (before, update, full)] == [2700, 3000, 3000]
    assert number(update[4]) > 0
