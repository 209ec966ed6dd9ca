"""Runs a model on a task as often as there are seeds: rows for the tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from benchmarks.quality import data, guests, ours, peers, protocols
from shared.data.arrays.histories import Histories

OURS = ("linear", "gru")
MODELS = (*OURS, *peers.PEERS, *guests.GUESTS)

Figures = Mapping[str, Mapping[str, float]]
"""View -> column -> figure."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to measure, as the command line says it."""

    folder: Path
    models: Sequence[str]
    seeds: int = 3
    setting: ours.Setting = field(default_factory=ours.Setting)
    guest: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the peers that are networks, see guest_process, and how often each of these is trained."""
    guest_seeds: int = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model's runs, one a seed; ``note`` says why there are none, or where the figures are from."""

    model: str
    runs: Sequence[Figures] = ()
    seconds: float | None = None
    cpu_seconds: float | None = None
    note: str = ""

    def mean(self, view: str, column: str) -> float | None:
        values = self._values(view, column)
        return mean(values) if values else None

    def spread(self, view: str, column: str) -> float:
        """The standard deviation among seeds; 0 where there is one."""
        values = self._values(view, column)
        return stdev(values) if len(values) > 1 else 0.0

    def _values(self, view: str, column: str) -> list[float]:
        return [run[view][column] for run in self.runs if column in run.get(view, {})]


def protocol_of(data_set: str, wanted: str | None) -> str:
    return wanted or ("loo" if data_set == "ml-1m-order" else "h10")


def rows(data_set: str, protocol: str, wish: Wish) -> list[Row]:
    """One row a model, in the order wished for. Raises NoData."""
    histories = data.read(data.folder_of(wish.folder, data_set))
    if protocol == "aws":
        values = wish.setting.values
        histories = data.within_percentiles(
            histories,
            float(values["min_user_history_length_percentile"]),
            float(values["max_user_history_length_percentile"]),
        )
    return [row(model, histories, protocol, wish) for model in wish.models]


def row(model: str, histories: Histories, protocol: str, wish: Wish) -> Row:
    # Under aws the seed draws the users to test on; else it changes nothing for a model without chance.
    chance = protocol == "aws" or model in OURS or model == "als"
    seeds = range(wish.guest_seeds if model in guests.NETWORKS else wish.seeds if chance else 1)
    runs: list[Figures] = []
    wall: list[float] = []
    cpu: list[float] = []
    for seed in seeds:
        print(f"{model} {protocol} seed {seed}", file=sys.stderr)
        task = protocols.PROTOCOLS[protocol](histories, seed)
        try:
            answers, seconds, cpu_seconds = _fitted(model, task, seed, wish, whole=protocol not in protocols.ASKED)
        except ours.NotOffered as reason:
            return Row(model=model, note=str(reason))
        runs.append(protocols.measure(answers, task.queries))
        wall.append(seconds)
        cpu.append(cpu_seconds)
    return Row(model=model, runs=runs, seconds=mean(wall), cpu_seconds=mean(cpu))


def _fitted(
    model: str, task: protocols.Task, seed: int, wish: Wish, *, whole: bool
) -> tuple[protocols.Answers, float, float]:
    """``whole``: our model learns from all users it may, not from those alone that the service would train on."""
    if model in OURS:
        task = task if whole else _as_served(task, wish.setting.values)
        trained = ours.train(task, replace(wish.setting, cell=model), seed)
        return trained.answers, trained.seconds, trained.cpu_seconds
    if model in guests.GUESTS:
        settings = wish.guest if model in guests.NETWORKS else {}
        scored = guests.scored(model, task, seed=seed, threads=wish.setting.threads, settings=settings)
        return lambda _: scored.scores_QI, scored.seconds, scored.cpu_seconds
    wall, cpu = time.perf_counter(), time.process_time()
    answers = peers.fitted(model, task)
    return answers, time.perf_counter() - wall, time.process_time() - cpu


def _as_served(task: protocols.Task, values: Mapping[str, str]) -> protocols.Task:
    """The same, without the users whose history is shorter or longer than the recipe's percentiles."""
    percentiles = [float(values[f"{end}_user_history_length_percentile"]) for end in ("min", "max")]
    lengths = task.training.lengths[task.users]
    least, most = np.quantile(lengths, percentiles)
    return replace(task, users=task.users[(lengths >= least) & (lengths <= most)])
