"""``foretaste hpo``: the trials of a solution version, and how the best of them became better and better."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from services.cli import screen
from services.cli.errors import NoTrials
from services.cli.local import signals
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir
from services.cli.screen import METRICS
from shared.state.lifecycle import (
    ACTIVE,
    CREATE_FAILED,
    CREATE_IN_PROGRESS,
    CREATE_PENDING,
    CREATE_STOPPED,
    CREATE_STOPPING,
    TERMINAL,
)

if TYPE_CHECKING:
    from services.cli.client import Personalize

REFRESH_SECONDS = 1.0
METRIC = "normalized_discounted_cumulative_gain_at_25"

STATES: Mapping[str, str] = {
    CREATE_PENDING: "waiting",
    CREATE_IN_PROGRESS: "running",
    ACTIVE: "done",
    CREATE_FAILED: "failed",
    CREATE_STOPPING: "stopping",
    CREATE_STOPPED: "stopped",
}

NUMBERS = ("trial", "epochs", METRICS[METRIC], "seconds")

#: The drawing's height in lines, and the characters that fill a column, in eighths of a line.
LINES = 6
BLOCKS = " ▁▂▃▄▅▆▇█"

Trial = Mapping[str, Any]
"""As ListTrials answers it."""


@click.command()
@click.argument("arn")
@click.option("--watch", is_flag=True, help="Keep it current until the version is settled, or Ctrl-C.")
@client_data_dir
def hpo(arn: str, watch: bool, data_dir: Path | None) -> None:
    """Show the trials of the solution version ARN, which HPO or AutoML tunes, and the best so far."""
    from services.cli.client import connect, find_client_variables

    aws = connect(find_client_variables(data_dir, DEFAULT_DATA_DIR))
    console = screen.create_console()
    shown, settled = _render_trials(aws, arn)
    if not watch:
        console.print(shown)
        return
    stopping = threading.Event()
    with signals.note_signals(stopping), Live(shown, console=console) as live:
        while not settled and not stopping.wait(REFRESH_SECONDS):
            shown, settled = _render_trials(aws, arn)
            live.update(shown)


def _render_trials(aws: Personalize, arn: str) -> tuple[Group, bool]:
    """Return the view of a version, and whether it is final. Raises NoTrials."""
    from services.cli.resource_life import describe_resource

    version, progress = describe_resource(aws, "solution_version", arn)
    if not (version.get("performHPO") or version.get("performAutoML")):
        raise NoTrials(f"{arn} has no trials: its solution asks for neither performHPO nor performAutoML.")
    trials = aws.foretaste.list_trials(solutionVersionArn=arn)["trials"]
    words = [version["status"], *([screen.describe_progress(progress)] if progress else []), _count_trials(trials)]
    return Group(Text(", ".join(words)), build_trial_table(trials), *draw_best_so_far(trials)), version[
        "status"
    ] in TERMINAL


def build_trial_table(trials: Sequence[Trial]) -> Grid:
    """A line for each trial; the one that won is marked, or the best so far."""
    best = find_best_trial(trials)
    several = len({trial["recipeArn"] for trial in trials}) > 1
    grid = Grid()
    recipe = ["recipe"] if several else []
    for title in ("trial", *recipe, "parameters", "epochs", METRICS[METRIC], "state", "worker", "seconds", ""):
        grid.add_column(title, justify="right" if title in NUMBERS else "left")
    for trial in trials:
        gain = get_trial_ndcg(trial)
        grid.add_row(
            str(trial["number"]),
            *([trial["recipeArn"].rpartition("/")[2]] if several else []),
            Text(", ".join(f"{name} {value}" for name, value in _iter_distinct_parameters(trial, trials))),
            f"{trial.get('epoch', 0)}/{trial['epochs']}" if "epochs" in trial else "",
            "" if gain is None else f"{gain:.4f}",
            describe_trial_state(trial),
            Text(trial.get("worker", "")),
            f"{trial['trainingSeconds']:.1f}" if "trainingSeconds" in trial else "",
            ("won" if trial["won"] else "best") if trial is best else Text(trial.get("failureReason", "")),
            style="bold" if trial is best else "",
        )
    return grid


def draw_best_so_far(trials: Sequence[Trial]) -> Iterator[Text]:
    """The best gain so far, a column for each trial that is done, in the order in which they ended."""
    heights = list(compute_best_so_far(trials))
    if not heights:
        return
    low, high = heights[0], heights[-1]
    # The first trial takes one line; the remaining lines show the gain since then.
    eighths = [8 + round((height - low) / (high - low) * 8 * (LINES - 1)) if high > low else 8 for height in heights]
    top = LINES if high > low else 1
    wide = 2 if len(heights) <= 36 else 1
    yield Text(f"best {METRICS[METRIC]} so far, by the trials that are done")
    for line in reversed(range(top)):
        label = f"{high:.4f}" if line == top - 1 else f"{low:.4f}" if line == 0 else ""
        yield Text(f"{label:>6} " + "".join(BLOCKS[min(max(filled - 8 * line, 0), 8)] * wide for filled in eighths))


def compute_best_so_far(trials: Sequence[Trial]) -> Iterator[float]:
    done = (trial for trial in trials if trial["status"] == ACTIVE)
    best = None
    for trial in sorted(done, key=lambda trial: (trial["lastUpdatedDateTime"], trial["number"])):
        gain = get_trial_ndcg(trial)
        if gain is not None and (best is None or gain > best):
            best = gain
        if best is not None:
            yield best


def find_best_trial(trials: Sequence[Trial]) -> Trial | None:
    """The one that won; until that is settled the best of those that are done, of equals the first."""
    won = next((trial for trial in trials if trial["won"]), None)
    done = [
        (gain, trial) for trial in trials if trial["status"] == ACTIVE and (gain := get_trial_ndcg(trial)) is not None
    ]
    return won or (max(done, key=lambda each: each[0])[1] if done else None)


def get_trial_ndcg(trial: Trial) -> float | None:
    """Return NDCG@25 among the validation users: the trial's result, or its best epoch while it runs."""
    came_to: float | None = trial.get("metrics", {}).get(METRIC)
    return max((point["gain"] for point in trial["curve"]), default=None) if came_to is None else came_to


def describe_trial_state(trial: Trial) -> str:
    if trial["status"] == CREATE_STOPPED and trial["pruned"]:
        return "pruned"
    return STATES.get(trial["status"], trial["status"])


def _iter_distinct_parameters(trial: Trial, trials: Sequence[Trial]) -> Iterator[tuple[str, str]]:
    """The parameters in which it differs from other trials of its recipe; all of those of a recipe's only trial."""
    others = [other["parameters"] for other in trials if other["recipeArn"] == trial["recipeArn"] and other != trial]
    for name, value in sorted(trial["parameters"].items()):
        if not others or any(other.get(name) != value for other in others):
            yield name, _format_value(value)


def _format_value(value: str) -> str:
    try:
        return f"{float(value):.4g}" if "." in value else value
    except ValueError:
        return value


def _count_trials(trials: Sequence[Trial]) -> str:
    counts = Counter(map(describe_trial_state, trials))
    return f"trials: {', '.join(f'{count} {state}' for state, count in sorted(counts.items())) or 'none yet'}"
