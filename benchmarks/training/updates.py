"""A training in mode UPDATE beside one in mode FULL, of the same interactions, the newest of which are new."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.quality import data
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.hrnn import training
from shared.recipes.training_api import Trained, TrainingContext, TrainingOptions

NDCG = "normalized_discounted_cumulative_gain_at_25"
RECIPE = RECIPES["aws-user-personalization"]


def show(folder: Path, *, hidden: int, threads: int, share: float) -> None:
    """``share`` of the interactions, the newest, come after the version that the update goes on from."""
    histories = data.read(folder)
    old_E = histories.timestamps <= np.quantile(histories.timestamps, 1 - share)
    before = without_the_unseen(data.only(histories, old_E))
    users = len(histories.user_ids) - len(before.user_ids)
    items = len(histories.item_ids) - len(before.item_ids)
    print(f"\n## {folder.name}: {(~old_E).sum():,} of {len(old_E):,} interactions are new, {users:,} users and "
          f"{items:,} items; hidden_dimension {hidden}, {threads} thread(s)\n")  # fmt: skip
    print("| training | interactions | epochs | wall s | CPU s | NDCG@25 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch, "base")
        row("FULL, of what was before", before, base, hidden, threads)
        row("UPDATE", histories, Path(scratch, "update"), hidden, threads, base)
        row("FULL, of all", histories, Path(scratch, "full"), hidden, threads)


def row(name: str, histories: Histories, folder: Path, hidden: int, threads: int, base: Path | None = None) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    trained = train(histories, folder, hidden, threads, base)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"| {name} | {len(histories.items):,} | {trained.epochs} | {wall:.1f} | {cpu:.1f} "
          f"| {trained.metrics[NDCG]:.4f} |", flush=True)  # fmt: skip


def train(histories: Histories, folder: Path, hidden: int, threads: int, base: Path | None) -> Trained:
    folder.mkdir()
    return training.train(
        TrainingData(histories=histories),
        RECIPE,
        RECIPE.resolve_parameters({"algorithmHyperParameters": {"hidden_dimension": str(hidden)}}),
        TrainingContext(
            workspace=folder / "workspace",
            artifact=folder,
            report_progress=lambda _: None,
            should_stop=lambda: False,
            options=TrainingOptions(threads=threads),
            base=base,
        ),
    )


def without_the_unseen(histories: Histories) -> Histories:
    """As if the users and items without an interaction had never been heard of."""
    users = np.flatnonzero(histories.lengths)
    items, numbers = np.unique(histories.items, return_inverse=True)
    return data.histories_of(
        np.repeat(np.arange(len(users)), histories.lengths[users]),
        numbers,
        histories.timestamps,
        user_ids=[histories.user_ids[user] for user in users],
        item_ids=[histories.item_ids[item] for item in items],
    )
