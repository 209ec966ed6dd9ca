"""Fits one peer and scores; runs in .venv-peers, sees nothing but arrays. See ``guests`` for what comes and goes.

Shapes: B histories or pieces of them, T events, F factors, I items, S negatives; N events to be foretold, Q queries.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch

Fitted = tuple[np.ndarray, float, float]
"""(scores_QI, seconds, CPU seconds): -inf where the peer does not know the item."""

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
) -> Fitted:
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
    factors: int = 64,
    blocks: int = 2,
    heads: int = 2,
    length: int = 100,
    batch: int = 32,
    dropout: float = 0.2,
    rate: float = 1e-3,
    **fit: Any,
) -> Fitted:
    """Kang, McAuley, Self-Attentive Sequential Recommendation, 2018, by PyPI's ``rectools``, full softmax."""
    sizes = _sizes(factors, blocks, heads, length, batch, dropout, rate)
    return _by_rectools(task, "SASRecModel", sizes, **fit)


def esasrec(
    task: Any,
    *,
    factors: int = 64,
    blocks: int = 2,
    heads: int = 2,
    length: int = 100,
    batch: int = 32,
    dropout: float = 0.2,
    rate: float = 1e-3,
    negatives: int = 256,
    **fit: Any,
) -> Fitted:
    """Tikhonovich et al., eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion, 2025.

    SASRec with LiGR's layers and sampled softmax, negatives drawn evenly, by PyPI's ``rectools``; sizes as SASRec's.
    """
    from rectools.models.nn.transformers.ligr import LiGRLayers

    sizes = _sizes(factors, blocks, heads, length, batch, dropout, rate)
    extra = {"loss": "sampled_softmax", "n_negatives": negatives, "transformer_layers_type": LiGRLayers}
    return _by_rectools(task, "SASRecModel", {**sizes, **extra}, **fit)


def hstu(
    task: Any,
    *,
    factors: int = 64,
    blocks: int = 2,
    heads: int = 2,
    length: int = 100,
    batch: int = 32,
    dropout: float = 0.2,
    rate: float = 1e-3,
    temperature: float = 0.05,
    **fit: Any,
) -> Fitted:
    """Zhai et al., Actions Speak Louder than Words, 2024, by PyPI's ``rectools``: with the times of the events.

    Full softmax of cosines over the authors' temperature; the request's moment is the time of the item to be found.
    """
    sizes = _sizes(factors, blocks, heads, length, batch, dropout, rate)
    extra = {"lightning_module_kwargs": {"logits_t": temperature}}
    return _by_rectools(task, "HSTUModel", {**sizes, **extra}, times=True, **fit)


def gru4rec(
    task: Any,
    *,
    seed: int,
    threads: int,
    factors: int = 64,
    length: int = 100,
    batch: int = 32,
    dropout: float = 0.2,
    rate: float = 1e-3,
    negatives: int = 2048,
    flattening: float = 0.75,
    epochs: int = 100,
    patience: int = 5,
    most_seconds: float = 0.0,
) -> Fitted:
    """GRU4Rec of Hidasi, Karatzoglou, Recurrent Neural Networks with Top-k Gains, 2018, written anew in torch.

    One GRU, the items' vectors tied, sampled softmax with the logQ correction. A history is learnt from in pieces of
    ``length``. The last event of each user validates, and training ends as that of the others: see _by_rectools.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(seed)
    histories = np.split(task["items"], np.flatnonzero(np.diff(task["users"])) + 1)
    learnt = [history[:-1] if len(history) > 2 else history for history in histories]
    held_out = [history[-length - 1 :] for history in histories if len(history) > 2]
    pieces = [one[begin : begin + length + 1] for one in learnt for begin in range(0, len(one) - 1, length)]
    counts_I = np.bincount(np.concatenate(learnt), minlength=int(task["items_all"]))
    negative = Negatives(counts_I, negatives, flattening, rng)
    network = Gru4Rec(len(counts_I), factors, dropout)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    began = _now()
    best, weights, waited = float("inf"), network.state_dict(), 0
    while epochs > 0 and waited < patience and not (most_seconds and _since(began)[0] > most_seconds):
        network.train()
        for part in np.array_split(rng.permutation(len(pieces)), -(-len(pieces) // batch)):
            optimizer.zero_grad()
            loss = network.loss([pieces[number] for number in part], negative)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        found = network.validation(held_out)
        print(f"{epochs} epochs left, validation {found:.4f}", file=sys.stderr)
        epochs, waited = epochs - 1, waited + 1
        if found < best or not held_out:
            best, waited = found, 0
            weights = {name: value.clone() for name, value in network.state_dict().items()}
    seconds, cpu = _since(began)

    network.load_state_dict(weights)
    scores = network.scores([history[-length:] for history in np.split(task["asked"], task["offsets"][1:-1])])
    scores[:, counts_I == 0] = -np.inf
    return scores, seconds, cpu


class Negatives:
    """Items drawn in proportion to popularity ** ``flattening``, the same ones for all targets of a batch."""

    def __init__(self, counts_I: np.ndarray, many: int, flattening: float, rng: np.random.Generator) -> None:
        shares_I = np.where(counts_I > 0, counts_I**flattening, 0.0)
        shares_I /= shares_I.sum()
        self.known = np.flatnonzero(shares_I)
        self.logs_I = torch.from_numpy(np.log(np.maximum(many * shares_I, 1e-12))).float()
        """log Q: of how often each is drawn in a batch."""
        self._many, self._rng = many, rng
        self._borders = np.cumsum(shares_I[self.known])

    def drawn(self) -> torch.Tensor:
        # The last border may be a rounding error below 1.
        places = np.searchsorted(self._borders, self._rng.random(self._many) * self._borders[-1], side="right")
        return torch.from_numpy(self.known[np.minimum(places, len(self.known) - 1)])


class Gru4Rec(torch.nn.Module):
    """items_BT -> hidden_BTF; a score is hidden_F . vector_F + bias of the item. The item after the last is padding."""

    def __init__(self, items: int, factors: int, dropout: float) -> None:
        super().__init__()
        self.padding = items
        self.vectors = torch.nn.Embedding(items + 1, factors, padding_idx=items)
        self.biases = torch.nn.Embedding(items + 1, 1, padding_idx=items)
        self.cell = torch.nn.GRU(factors, factors, batch_first=True)
        self.dropout = torch.nn.Dropout(dropout)
        torch.nn.init.normal_(self.vectors.weight, std=factors**-0.5)
        torch.nn.init.zeros_(self.biases.weight)

    def forward(self, items_BT: torch.Tensor) -> torch.Tensor:
        hidden_BTF, _ = self.cell(self.dropout(self.vectors(items_BT)))
        dropped_BTF: torch.Tensor = self.dropout(hidden_BTF)
        return dropped_BTF

    def loss(self, pieces: Sequence[np.ndarray], negative: Negatives) -> torch.Tensor:
        """Softmax over the target and the negatives, each of these less log Q, so that they stand for all other items.

        Bengio, Senecal, Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model,
        2008. The target is there for sure: from its score no log Q is taken.
        """
        items_BT = self._padded(pieces)
        real_BT = items_BT[:, 1:] != self.padding
        hidden_NF, target_N, drawn_S = self(items_BT[:, :-1])[real_BT], items_BT[:, 1:][real_BT], negative.drawn()
        right_N = (hidden_NF * self.vectors(target_N)).sum(-1) + self.biases(target_N)[:, 0]
        wrong_NS = hidden_NF @ self.vectors(drawn_S).T + self.biases(drawn_S)[:, 0]
        wrong_NS = (wrong_NS - negative.logs_I[drawn_S]).masked_fill(drawn_S == target_N[:, None], -torch.inf)
        logits_NS = torch.cat([right_N[:, None], wrong_NS], 1)
        return torch.nn.functional.cross_entropy(logits_NS, torch.zeros(len(target_N), dtype=torch.int64))

    def validation(self, histories: Sequence[np.ndarray]) -> float:
        """The mean full softmax loss of the last item of each."""
        total = 0.0
        for begin in range(0, len(histories), RECOMMENDED_AT_ONCE):
            part = histories[begin : begin + RECOMMENDED_AT_ONCE]
            targets_Q = torch.tensor([int(history[-1]) for history in part])
            scores_QI = torch.from_numpy(self.scores([history[:-1] for history in part]))
            total += torch.nn.functional.cross_entropy(scores_QI, targets_Q, reduction="sum").item()
        return total / max(len(histories), 1)

    @torch.no_grad()
    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """float32[Q, I]"""
        self.eval()
        found = []
        for begin in range(0, len(histories), RECOMMENDED_AT_ONCE):
            part = histories[begin : begin + RECOMMENDED_AT_ONCE]
            ends = torch.tensor([len(history) for history in part]) - 1
            hidden_QF = self(self._padded(part))[torch.arange(len(part)), ends]
            found.append(hidden_QF @ self.vectors.weight[:-1].T + self.biases.weight[:-1, 0])
        return torch.cat(found).numpy()

    def _padded(self, histories: Sequence[np.ndarray]) -> torch.Tensor:
        rows = [torch.from_numpy(history.astype(np.int64)) for history in histories]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self.padding)


def _sizes(
    factors: int, blocks: int, heads: int, length: int, batch: int, dropout: float, rate: float
) -> dict[str, Any]:
    """As RecTools names them."""
    return {
        "n_factors": factors,
        "n_blocks": blocks,
        "n_heads": heads,
        "session_max_len": length,
        "batch_size": batch,
        "dropout_rate": dropout,
        "lr": rate,
    }


def _by_rectools(
    task: Any,
    model_name: str,
    arguments: Mapping[str, Any],
    *,
    seed: int,
    threads: int,
    times: bool = False,
    epochs: int = 100,
    patience: int = 5,
    most_seconds: float = 0.0,
) -> Fitted:
    """The last event of each user validates; training ends after ``patience`` epochs without a better loss on it, and
    the best weights count. ``most_seconds`` ends it earlier (0: never).

    ``times``: the model gets the times of the events and of the requests; else the place in the history is the time.
    """
    import pandas as pd
    import pytorch_lightning as lightning
    import rectools.models
    from pytorch_lightning.callbacks import EarlyStopping, Timer
    from rectools import Columns
    from rectools.dataset import Dataset

    lightning.seed_everything(seed)
    torch.set_num_threads(threads)
    model_class = getattr(rectools.models, model_name)
    loss_name = model_class.val_loss_name

    class KeepBest(lightning.Callback):
        best = float("inf")
        weights: dict[str, torch.Tensor] | None = None

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            loss = float(trainer.callback_metrics[loss_name])
            if not trainer.sanity_checking and loss < self.best:
                self.best = loss
                self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
            print(f"epoch {trainer.current_epoch} validation {loss:.4f}", file=sys.stderr)

    def moments(seconds: np.ndarray) -> Any:
        # Events of one second keep their order: RecTools sorts by time and stably.
        return pd.to_datetime(seconds, unit="s")

    def table(users: np.ndarray, items: np.ndarray, seconds: np.ndarray) -> Any:
        when = moments(seconds if times else np.arange(len(users)))
        columns = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: when}
        return Dataset.construct(pd.DataFrame(columns))

    def last_of_each(interactions: Any) -> np.ndarray:
        return np.asarray(~interactions.duplicated(Columns.User, keep="last"))

    keep = KeepBest()

    def trainer() -> Any:
        stops: list[Any] = [EarlyStopping(loss_name, patience=patience), keep]
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

    model = model_class(**arguments, get_trainer_func=trainer, get_val_mask_func=last_of_each)
    began = _now()
    model.fit(table(task["users"], task["items"], task["times"]))
    seconds, cpu = _since(began)
    # The trainer was copied, and its callbacks with it.
    fitted = next(one for one in model.fit_trainer.callbacks if isinstance(one, KeepBest))
    model.lightning_model.load_state_dict(fitted.weights)

    queries = len(task["offsets"]) - 1
    of_query = np.repeat(np.arange(queries), np.diff(task["offsets"]))
    asked = table(of_query, task["asked"], task["asked_times"])
    scores = np.full((queries, int(task["items_all"])), -np.inf, np.float32)
    for begin in range(0, queries, RECOMMENDED_AT_ONCE):
        users = np.intersect1d(np.arange(begin, min(begin + RECOMMENDED_AT_ONCE, queries)), of_query)
        context = pd.DataFrame(
            {Columns.User: users, Columns.Weight: 1.0, Columns.Datetime: moments(task["now"][users])}
        )
        found = model.recommend(
            users,
            asked,
            k=scores.shape[1],
            filter_viewed=False,
            on_unsupported_targets="ignore",
            context=context if times else None,
        )
        scores[found[Columns.User], found[Columns.Item]] = found[Columns.Score]
    return scores, seconds, cpu


PEERS: dict[str, Callable[..., Fitted]] = {
    "als": als,
    "sasrec": sasrec,
    "esasrec": esasrec,
    "hstu": hstu,
    "gru4rec": gru4rec,
}


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
