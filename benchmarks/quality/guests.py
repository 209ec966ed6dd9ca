"""Peers that are libraries and run in an environment of their own: a task goes there as arrays, scores come back.

in    users, items, times               [E] the events that may be learnt from, each user's oldest first
      offsets, asked, asked_times       [Q + 1], [A], [A] the history of each query, end to end
      now                               [Q] when each is asked
      items_all                         how many items there are
out   scores                            float32[Q, I], -inf where the peer does not know the item
      seconds, cpu                      of fitting alone
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quality import environment
from benchmarks.quality.protocols import Task

NETWORKS = ("gru4rec", "sasrec", "esasrec", "hstu")
"""Those that take minutes, or hours on a large data set."""

GUESTS = ("als", *NETWORKS)


@dataclass(frozen=True, eq=False)
class Scored:
    """``scores_QI`` are of the task's queries, in their order."""

    scores_QI: npt.NDArray[np.float32]
    seconds: float
    cpu_seconds: float


def scored(peer: str, task: Task, *, seed: int, threads: int, settings: Mapping[str, Any]) -> Scored:
    """``settings`` are the peer's own: see guest_process."""
    training = task.training
    of_user = np.repeat(np.arange(len(training.user_ids)), training.lengths)
    known = np.isin(of_user, task.users)
    lengths = [len(query.items) for query in task.queries]
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "task.npz", Path(scratch) / "scores.npz"
        np.savez(
            given,
            users=of_user[known],
            items=training.items[known],
            times=training.timestamps[known],
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            asked=np.concatenate([query.items for query in task.queries]),
            asked_times=np.concatenate([query.timestamps for query in task.queries]),
            now=np.array([query.now for query in task.queries]).astype(np.int64),
            items_all=len(training.item_ids),
        )
        environment.run(
            "benchmarks.quality.guest_process",
            [peer, str(given), str(answer), json.dumps({"seed": seed, "threads": threads, **settings})],
            threads=threads,
        )
        with np.load(answer) as found:
            return Scored(scores_QI=found["scores"], seconds=float(found["seconds"]), cpu_seconds=float(found["cpu"]))
