"""Events a second of ours, its loader alone and the peers, in one run, and our part of what the machine could do."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality import data, environment, ours, protocols
from benchmarks.training import roofline
from benchmarks.training.steady import Speed, Steady, drained
from shared.data.arrays.histories import Histories

PEERS = ("recbole-gru4rec", "rectools-sasrec")
TARGETS: Mapping[str, float] = {"recbole-gru4rec": 40.0, "rectools-sasrec": 8.0}
"""So many times faster than each of these, in events per CPU second."""

OF_ROOFLINE = 0.5
OF_LOADER = 5.0


def show(folder: Path, *, hidden: int, cell: str, threads: int, seconds: float, peers: Sequence[str]) -> None:
    histories = protocols.loo(data.read(folder)).training
    items = len(histories.item_ids)
    setting = ours.Setting(cell=cell, parameters={"hidden_dimension": str(hidden)}, threads=threads)
    torch.set_num_threads(threads)
    print(f"\n## {folder.name}, {len(histories.items):,} events to train on, {items:,} items, hidden {hidden}, "
          f"{threads} thread(s)\n")  # fmt: skip
    rates = {str(dtype)[6:]: roofline.gemm_rate(dtype, "cpu") for dtype in (torch.float32, torch.bfloat16)}

    steady = Steady(seconds)
    learner = ours.run_steps(histories, setting, steady.step)
    mine = steady.speed
    loader = drained(ours.load_steps(histories, setting), min(seconds, 10))
    theirs = {peer: _peer(peer, histories, hidden=hidden, threads=threads, seconds=seconds) for peer in peers}
    # The machine may have been busier before than it is now.
    rates = {name: max(rate, roofline.gemm_rate(getattr(torch, name), "cpu")) for name, rate in rates.items()}

    print("| | events per CPU s | events/s | steps | peak MiB | ours is so many times as fast |")
    print("|---|---|---|---|---|---|")
    rows = {f"foretaste, {cell} cell": mine, "foretaste's loader alone": loader, **theirs}
    for name, speed in rows.items():
        print(
            f"| {name} | {speed.a_cpu_second:,.0f} | {speed.a_second:,.0f} | {speed.steps} | {speed.peak_mib:,.0f} "
            f"| {mine.a_cpu_second / speed.a_cpu_second:.2f} |"
        )
    print()
    for peer, speed in theirs.items():
        _verdict(f"times {peer}", mine.a_cpu_second / speed.a_cpu_second, TARGETS[peer])
    _verdict("times training is the loader alone", loader.a_cpu_second / mine.a_cpu_second, OF_LOADER)
    work = ours.work(learner)
    print(f"FLOPs of an event, forward and backward: {work.flops / 1e6:.2f} million = {work.formula}")
    for name, rate in rates.items():
        limit = rate / work.flops
        print(f"torch.mm {name}: {rate / 1e9:.0f} GFLOP/s, so at most {limit:,.0f} events/s")
        _verdict(f"of the {name} roofline", mine.a_second / limit, OF_ROOFLINE if name == "float32" else None)
    shape = (work.events, hidden, items)
    narrow = [roofline.gemm_rate(dtype, "cpu", shape) / 1e9 for dtype in (torch.float32, torch.bfloat16)]
    print(
        f"torch.mm of a step's logits, [{work.events} x {hidden}] x [{hidden} x {items}]: "
        f"float32 {narrow[0]:.0f}, bfloat16 {narrow[1]:.0f} GFLOP/s"
    )


def _peer(peer: str, histories: Histories, *, hidden: int, threads: int, seconds: float) -> Speed:
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "events.npz", Path(scratch) / "speed.json"
        users = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
        np.savez(given, users=users, items=histories.items)
        settings = {"hidden": hidden, "threads": threads, "seconds": seconds}
        environment.run(
            "benchmarks.training.guest_process", [peer, str(given), str(answer), json.dumps(settings)], threads=threads
        )
        return Speed(**json.loads(answer.read_text()))


def _verdict(what: str, figure: float, target: float | None) -> None:
    word = "" if target is None else f", target {target:g}: {'reached' if figure >= target else 'MISSED'}"
    print(f"{figure:.3g} {what}{word}")
