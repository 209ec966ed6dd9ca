"""One part of the benchmark: see ``__main__``. All times are CPU seconds of this process."""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.batch.made_up import MadeUp, write_model
from shared import settings
from shared.recipes import RECIPES
from shared.recipes.scoring_api import Exploration, Query
from shared.serving.block_pipeline import choose_block_size, recommend_block
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.model_cache import LoadedModel
from shared.serving.pipeline import recommend_items

WANTED = 25
TIMES = 5
"""What is compared is measured in turns, so often, and the median taken: a machine has slower moments."""
NOW = 1.7e9
DATASETS = dict.fromkeys(("INTERACTIONS", "ITEMS", "USERS", "ACTIONS", "ACTION_INTERACTIONS"), "none")
ML_100K = MadeUp(recipe="aws-user-personalization", items=1682, users=943, events=(20, 192), hidden=128, spread=0.2)


def main() -> None:
    part, size, events, hidden = sys.argv[1], *map(int, sys.argv[2:])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        if part == "users":
            score_users(folder)
        elif part == "catalogue":
            score_catalogue(folder, size, events, hidden)
        else:
            score_lines(folder, size)


def load_model(folder: Path, of: MadeUp) -> LoadedModel:
    recipe = RECIPES[of.recipe]
    scorer = importlib.import_module(f"{recipe.module}.scoring").Scorer
    return LoadedModel(scorer.load(write_model(folder, of)), recipe, "none", DATASETS)


class Job:
    """A batch job without its files: each of its lines names a user."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._selection = CandidateSelection(None, model, {})  # type: ignore[arg-type]  # there are no filters
        explores = model.recipe.serving.explores
        self._exploration = Exploration(weight=0.3, age_cut_off_days=30.0) if explores else None

    def answer_block(self, users: Sequence[str]) -> None:
        queries = [self._build_query(user, block=True) for user in users]
        recommend_block(self._model, queries, [self._selection] * len(users), WANTED)

    def answer_one(self, user: str) -> None:
        """As a request of a user whom the runtime has not met."""
        recommend_items(self._model, self._build_query(user, block=False), self._selection, WANTED)

    def _build_query(self, user: str, *, block: bool) -> Query:
        history = self._model.get_stored_history(user) if block else self._model.get_history(user)
        return Query(now=NOW, user_id=user, history=history, exploration=self._exploration)


def score_users(folder: Path) -> None:
    """A catalogue and users as many as ml-100k's, with counters, repeated items and exploration."""
    model = load_model(folder, ML_100K)
    job, users = Job(model), [f"u{user:06}" for user in range(ML_100K.users)]
    size = choose_block_size(model)
    job.answer_block(users[:50])
    together = [measure(lambda: answer_blocks(job, users, size)) for _ in range(TIMES)]
    alone = measure(lambda: answer_alone(job, users))
    print(
        f"\n## {len(users)} users, {ML_100K.items} items, {sum(ML_100K.events) // 2} events each, {model.recipe.name}"
    )
    show("CPU seconds of all users in blocks", statistics.median(together), 1.0, at_least=False)
    print(f"one after the other: {alone:.2f} CPU seconds, {alone / statistics.median(together):.1f} times as long")


def answer_blocks(job: Job, users: Sequence[str], size: int) -> None:
    for begin in range(0, len(users), size):
        job.answer_block(users[begin : begin + size])


def answer_alone(job: Job, users: Sequence[str]) -> None:
    for user in users:
        job.answer_one(user)


def score_catalogue(folder: Path, items: int, events: int, hidden: int) -> None:
    """A large catalogue, beside single requests and beside the bare products."""
    size = 512
    of = MadeUp(items=items, users=size * 2, events=(events, events), hidden=hidden, leaning=False, spread=0.1)
    model = load_model(folder, of)
    job, users = Job(model), [f"u{user:06}" for user in range(of.users)]
    size = min(size, choose_block_size(model))
    few = max(8, 4_000_000 // items)
    job.answer_block(users[:size])
    for user in users[:3]:
        job.answer_one(user)
    products = BareProducts(items, events, hidden, size)
    found = []
    for turn in range(TIMES):
        met = 3 + turn * few
        block = measure(lambda: job.answer_block(users[size : 2 * size])) / size
        alone = measure(partial(answer_alone, job, users[met : met + few])) / few
        again = measure(partial(answer_alone, job, users[met : met + few])) / few
        found.append(
            (block, alone, again, measure(products.multiply_items) / size, measure(products.read_events) / size)
        )
    block, alone, again, of_items, of_events = (statistics.median(each) for each in zip(*found, strict=True))
    print(f"\n## {items:,} items, hidden {hidden}, {events} events a user, blocks of {size} users")
    for name, seconds in (
        ("in blocks", block),
        ("bare products over the items", of_items),
        ("bare products of the events", of_events),
        ("one after the other", alone),
        ("the same, with histories read before", again),
    ):
        print(f"{seconds * 1e3:.2f} CPU ms a user: {name}")
    show("rate of one after the other", statistics.median(a / b for b, a, *_ in found), 20.0)
    bare = statistics.median(b / (i + e) for b, _, _, i, e in found)
    show("times the bare products over items and of the events read", bare, 2.0, at_least=False)


class BareProducts:
    """The products in float32 without which no scores can be computed, by numpy, of random numbers."""

    def __init__(self, items: int, events: int, hidden: int, queries: int) -> None:
        rng = np.random.default_rng(0)
        self._vectors_HI = rng.standard_normal((items, hidden), np.float32).T
        self._q_QH = rng.standard_normal((queries, hidden), np.float32)
        self._events = (events + 1) * queries
        self._x_NH = rng.standard_normal((min(self._events, 4096), hidden), np.float32)
        self._x_NW = rng.standard_normal((len(self._x_NH), 2 * hidden), np.float32)
        self._layers = [rng.standard_normal((hidden, width * hidden), np.float32) for width in (6, 4)]
        self._out_WH = rng.standard_normal((2 * hidden, hidden), np.float32)

    def multiply_items(self) -> None:
        step = 4096
        for begin in range(0, self._vectors_HI.shape[1], step):
            self._q_QH @ self._vectors_HI[:, begin : begin + step]

    def read_events(self) -> None:
        """The first layer; the second, of whose output only the last is needed."""
        for begin in range(0, self._events, len(self._x_NH)):
            rows = slice(0, min(len(self._x_NH), self._events - begin))
            for into in self._layers:
                self._x_NH[rows] @ into
            self._x_NW[rows] @ self._out_WH


def score_lines(folder: Path, lines: int) -> None:
    """A job of many lines in blocks, and the memory that it takes beside the model."""
    of = MadeUp(items=1682, users=5000, events=(5, 35), hidden=32, leaning=False)
    measure_memory(folder / "small", of, lines)
    large = MadeUp(items=1_000_000, users=2000, events=(5, 400), hidden=32, leaning=False)
    measure_memory(folder / "large", large, min(lines, 4000))


def measure_memory(folder: Path, of: MadeUp, lines: int) -> None:
    model = load_model(folder, of)
    job, size = Job(model), choose_block_size(model)
    job.answer_block(["u000000"])
    drawn = np.random.default_rng(0)
    with PeakMemory() as peak:
        begun = time.process_time()
        for begin in range(0, lines, size):
            users = drawn.integers(0, of.users, min(size, lines - begin)).tolist()
            job.answer_block([f"u{user:06}" for user in users])
        taken = time.process_time() - begun
    allowed = settings.load().batch_memory_mb
    print(f"\n## {lines:,} lines, {of.items:,} items: {lines / taken:,.0f} lines a CPU second")
    show(f"of the {allowed} MiB set, {peak.mib:.0f} MiB beside the model", peak.mib / allowed, 1.0, at_least=False)


class PeakMemory:
    """The most memory of its own, without mapped files, that the process takes in addition; looked up often."""

    def __enter__(self) -> PeakMemory:
        self._before, self.mib, self._ended = read_memory(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.mib = max(self.mib, read_memory() - self._before)


def read_memory() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(work: Callable[[], object]) -> float:
    """CPU seconds."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def show(what: str, found: float, target: float, *, at_least: bool = True) -> None:
    reached = found >= target if at_least else found <= target
    print(f"{found:.2f} {what} (target: {'at least' if at_least else 'at most'} {target:g}, "
          f"{'reached' if reached else 'not reached'})")  # fmt: skip


if __name__ == "__main__":
    main()
