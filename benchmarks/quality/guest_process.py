"""Fits one peer and scores; runs in .venv-peers, sees nothing but arrays. See ``guests`` for what comes and goes."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

RECOMMENDED_AT_ONCE = 512  # users: RecTools answers as a table of users x items


def als(
    task: Any,
    *,
    seed: int,
    threads: int,
    factors: int = 64,
    regularization: float = 0.1,
    alpha: float = 1.0,
    iterations: int = 15,
) -> tuple[np.ndarray, float, float]:
    """Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008, by PyPI's ``implicit``."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    items = int(task["items_all"])
    users = task["users"]
    seen_UI = csr_matrix((np.ones(len(users), np.float32), (users, task["items"])), shape=(users.max() + 1, items))
    queries = len(task["offsets"]) - 1
    of_query = np.repeat(np.arange(queries), np.diff(task["offsets"]))
    asked_QI = csr_matrix((np.ones(len(of_query), np.float32), (of_query, task["asked"])), shape=(queries, items))
    for matrix in (seen_UI, asked_QI):
        matrix.data[:] = 1.0  # an item twice in a history is seen once
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=alpha,
            iterations=iterations,
            random_state=seed,
            num_threads=threads,
        )
        began = _now()
        model.fit(seen_UI, show_progress=False)
        seconds, cpu = _since(began)
        factors_QF = model.recalculate_user(np.arange(queries), asked_QI)
    return factors_QF @ model.item_factors.T, seconds, cpu


def sasrec(
    task: Any,
    *,
    seed: int,
    threads: int,
    factors: int = 64,
    blocks: int = 2,
    heads: int = 2,
    length: int = 100,
    batch: int = 32,
    dropout: float = 0.2,
    rate: float = 1e-3,
    epochs: int = 100,
    patience: int = 5,
    most_seconds: float = 0.0,
) -> tuple[np.ndarray, float, float]:
    """Kang, McAuley, Self-Attentive Sequential Recommendation, 2018, by PyPI's ``rectools``, full softmax.

    The last event of each user validates; training ends after ``patience`` epochs without a better loss on it, and
    the best weights count. ``most_seconds`` ends it earlier (0: never).
    """
    import pandas as pd
    import pytorch_lightning as lightning
    import torch
    from pytorch_lightning.callbacks import EarlyStopping, Timer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    lightning.seed_everything(seed)
    torch.set_num_threads(threads)

    class KeepBest(lightning.Callback):
        best = float("inf")
        weights: dict[str, torch.Tensor] | None = None

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            loss = float(trainer.callback_metrics[SASRecModel.val_loss_name])
            if not trainer.sanity_checking and loss < self.best:
                self.best = loss
                self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
            print(f"epoch {trainer.current_epoch} validation {loss:.4f}", file=sys.stderr)

    def table(users: np.ndarray, items: np.ndarray) -> Any:
        # The place in the history is the time: events of one second keep their order.
        return Dataset.construct(
            pd.DataFrame(
                {
                    Columns.User: users,
                    Columns.Item: items,
                    Columns.Weight: 1.0,
                    Columns.Datetime: pd.to_datetime(np.arange(len(users)), unit="s"),
                }
            )
        )

    def last_of_each(interactions: Any) -> np.ndarray:
        return np.asarray(~interactions.duplicated(Columns.User, keep="last"))

    keep = KeepBest()

    def trainer() -> Any:
        stops: list[Any] = [EarlyStopping(SASRecModel.val_loss_name, patience=patience), keep]
        if most_seconds:
            stops.append(Timer(duration=timedelta(seconds=most_seconds)))
        return lightning.Trainer(
            max_epochs=epochs,
            callbacks=stops,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            devices=1,
            accelerator="auto",
            num_sanity_val_steps=0,
        )

    model = SASRecModel(
        n_factors=factors,
        n_blocks=blocks,
        n_heads=heads,
        session_max_len=length,
        batch_size=batch,
        dropout_rate=dropout,
        lr=rate,
        get_trainer_func=trainer,
        get_val_mask_func=last_of_each,
    )
    began = _now()
    model.fit(table(task["users"], task["items"]))
    seconds, cpu = _since(began)
    # The trainer was copied, and its callbacks with it.
    fitted = next(one for one in model.fit_trainer.callbacks if isinstance(one, KeepBest))
    model.lightning_model.load_state_dict(fitted.weights)

    queries = len(task["offsets"]) - 1
    of_query = np.repeat(np.arange(queries), np.diff(task["offsets"]))
    asked = table(of_query, task["asked"])
    scores = np.full((queries, int(task["items_all"])), -np.inf, np.float32)
    for begin in range(0, queries, RECOMMENDED_AT_ONCE):
        users = np.intersect1d(np.arange(begin, min(begin + RECOMMENDED_AT_ONCE, queries)), of_query)
        found = model.recommend(users, asked, k=scores.shape[1], filter_viewed=False, on_unsupported_targets="ignore")
        scores[found[Columns.User], found[Columns.Item]] = found[Columns.Score]
    return scores, seconds, cpu


PEERS: dict[str, Callable[..., tuple[np.ndarray, float, float]]] = {"als": als, "sasrec": sasrec}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - began[0], cpu - began[1]


def main() -> None:
    peer, given, answer, settings = sys.argv[1:]
    warnings.filterwarnings("ignore")
    with np.load(given) as file:
        task = dict(file)
    scores, seconds, cpu = PEERS[peer](task, **json.loads(settings))
    np.savez(answer, scores=scores.astype(np.float32), seconds=seconds, cpu=cpu)


if __name__ == "__main__":
    main()
