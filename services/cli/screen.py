"""How a step shows that it goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.table import Table as Grid

PLAIN_SECONDS = 5.0

#: AWS's metrics -> their names in the literature.
METRICS = {
    "normalized_discounted_cumulative_gain_at_25": "NDCG@25",
    "normalized_discounted_cumulative_gain_at_10": "NDCG@10",
    "normalized_discounted_cumulative_gain_at_5": "NDCG@5",
    "mean_reciprocal_rank_at_25": "MRR@25",
    "precision_at_25": "precision@25",
    "precision_at_10": "precision@10",
    "precision_at_5": "precision@5",
    "coverage": "coverage",
}

#: The views of a report, and their titles, with the number of users.
VIEWS = {"raw": "raw: what {:,} users took", "unseen": "unseen: what was new to {:,} of them"}


def create_console() -> Console:
    """Create the console; piped output is not cut to a terminal's width."""
    shown = Console(highlight=False, soft_wrap=True)
    return shown if shown.is_terminal else Console(highlight=False, soft_wrap=True, width=160)


class Step:
    """One line of the screen: a title, a progress bar, and a note."""

    def __init__(self, console: Console, title: str, bars: Progress | None) -> None:
        self._console = console
        self._title = title
        self._bars = bars
        self._task = bars.add_task(title, total=None, note="") if bars else None
        self._said = time.monotonic()
        self.note = ""
        #: How many rows there are to import, where that is known.
        self.rows: int | None = None

    def show_note(self, note: str, *, done: float | None = None, total: float | None = None) -> None:
        """Without ``total`` the bar only says that something happens."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total, note=note)
        elif note != self.note and time.monotonic() - self._said > PLAIN_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"  {self._title}: {note}", highlight=False)
        self.note = note

    def conclude(self, note: str) -> None:
        """Set the note that stays on the screen when the step is over."""
        self.note = note

    def watch(self, _status: str, progress: Mapping[str, Any]) -> None:
        """Show the progress that a resource reports while it is created."""
        if "epochs" in progress:
            self.show_note(describe_progress(progress), done=progress.get("epoch"), total=progress["epochs"])
        elif "rows" in progress:
            self.show_note(f"{progress['rows']:,} rows", done=progress["rows"], total=self.rows)

    def finish(self, note: str, seconds: float) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=1, total=1, note=note)
        else:
            self._console.print(f"{self._title:<30} {seconds:6.1f} s  {note}".rstrip(), highlight=False)


@contextmanager
def show_step(console: Console, title: str) -> Iterator[Step]:
    """Show a step while the block runs; its last note stays on the screen."""
    started = time.monotonic()
    if not console.is_terminal:
        plain = Step(console, title, None)
        yield plain
        plain.finish(plain.note, time.monotonic() - started)
        return
    columns: list[ProgressColumn] = [
        TextColumn("{task.description:<30}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=20, table_column=Column(min_width=20)),
        TimeElapsedColumn(table_column=Column(min_width=7)),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    ]
    with Progress(*columns, console=console) as bars:
        drawn = Step(console, title, bars)
        yield drawn
        drawn.finish(drawn.note, time.monotonic() - started)


def describe_progress(progress: Mapping[str, Any]) -> str:
    """A training's progress in a few words: phase, epoch, loss, and how long it still takes."""
    words = [str(progress.get("phase", "training"))]
    if "epoch" in progress and "epochs" in progress:
        words.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    if progress.get("loss") is not None:
        words.append(f"loss {progress['loss']:.3f}")
    if progress.get("eta_seconds") is not None:
        words.append(f"{progress['eta_seconds']:.0f} s left")
    return ", ".join(words)


def describe_remarks(remarks: Mapping[str, Any]) -> str:
    """Describe the remarks of a job that has ended in a few words; "" where there are none."""
    words = []
    if failed := remarks.get("failed"):
        words.append(f"{failed:,} of {remarks['lines']:,} lines have an error")
    if nulls := remarks.get("nulls"):
        columns = ", ".join(f"{column} {count:,}" for column, count in nulls.items())
        words.append(f"empty or unreadable cells are null: {columns}")
    if skipped := remarks.get("skipped"):
        words.append(f"skipped {', '.join(skipped)}")
    return "; ".join(words)


def build_metrics_table(
    recipe: str,
    model: Mapping[str, float],
    popularity: Mapping[str, float] | None,
    report: Mapping[str, Any] | None = None,
) -> Grid:
    """Build the table of a version's metrics with two baselines: popularity, and the user's most frequent items.

    Those in the report, ``shared.recipes.training_api.Trained.report``, come first, in each of its views.
    """
    views = {view: report[view] for view in VIEWS if report and report.get(view)}
    others = ("popularity", "personal frequency") if views else ("popularity",)
    grid = Grid(title="Metrics", title_justify="left", title_style="bold", caption_justify="left")
    grid.add_column("on held-out interactions")
    for name in (recipe, *others, "ratio"):
        grid.add_column(name, justify="right")
    # User segments and actions have some metrics of their own, and lack some.
    names = (*(known for known in METRICS if known in model), *sorted(model.keys() - METRICS.keys()))
    in_views = [name for name in names if any(name in told["model"] for told in views.values())]
    for name in in_views:
        for view, told in views.items():
            beside = [told[other][name] for other in ("popularity", "personal_frequency")]
            grid.add_row(f"{METRICS.get(name, name)} {view}", *_compare_values(told["model"][name], beside))
    for name in names:
        if name not in in_views:
            known = [(popularity or {}).get(name), *[None for _ in others[1:]]]
            grid.add_row(METRICS.get(name, name), *_compare_values(model[name], known))
    if views:
        meant = [VIEWS[view].format(told["users"]) for view, told in views.items()]
        grid.caption = "; ".join([*meant, "ratio: to the better of what stands beside"])
    return grid


def _compare_values(value: float, others: Sequence[float | None]) -> list[str]:
    """Build the cells: the value, the baselines, and its ratio to the highest baseline."""
    most = max((other for other in others if other is not None), default=0.0)
    return [
        f"{value:.4f}",
        *("" if other is None else f"{other:.4f}" for other in others),
        f"{value / most:.2f}x" if most else "",
    ]
