"""Times the steady steps of one peer; runs in .venv-peers, sees nothing but arrays.

    python -m benchmarks.training.guest_process PEER events.npz answer.json '{"hidden": 64, "seconds": 30, ...}'

events.npz: users, items [E], each user's oldest first. The answer is a ``steady.Speed``. Preparing
the data does not count; forward, backward, the optimiser and the peer's own loader do.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training.steady import Steady

WARM_UP = 3


class Enough(Exception):
    """It has been measured for long enough."""


def rectools_sasrec(events: Any, steady: Steady, *, hidden: int, length: int = 200, batch: int = 128) -> None:
    """Two blocks, full softmax over the catalogue, the last ``length`` events of each user: its own defaults else."""
    import pandas as pd
    import pytorch_lightning as lightning
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    class Count(lightning.Callback):
        def on_train_batch_end(self, _trainer: Any, _model: Any, _outputs: Any, batch: Any, _number: int) -> None:
            if not steady.step(int((batch["y"] != 0).sum())):
                raise Enough

    def trainer() -> Any:
        return lightning.Trainer(
            max_epochs=10_000,
            callbacks=[Count()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            devices=1,
        )

    table = pd.DataFrame(
        {
            Columns.User: events["users"],
            Columns.Item: events["items"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(np.arange(len(events["users"])), unit="s"),
        }
    )
    model = SASRecModel(
        n_factors=hidden, n_blocks=2, n_heads=2, session_max_len=length, batch_size=batch, get_trainer_func=trainer
    )
    # The trainer is copied before it runs, and the counter must not be.
    Count.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]
    model.fit(Dataset.construct(table))


def recbole_gru4rec(events: Any, steady: Steady, *, hidden: int, length: int = 50, batch: int = 2048) -> None:
    """One layer, embedding and hidden size alike, softmax loss; RecBole makes of each event its own prefix of 50."""
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    # RecBole leaves folders of logs wherever it is run.
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        folder = Path(scratch) / "events"
        folder.mkdir()
        with (folder / "events.inter").open("w") as file:
            file.write("user_id:token\titem_id:token\ttimestamp:float\n")
            for place, (user, item) in enumerate(zip(events["users"].tolist(), events["items"].tolist(), strict=True)):
                file.write(f"{user}\t{item}\t{place}\n")
        config = Config(
            model="GRU4Rec",
            dataset="events",
            config_dict={
                "data_path": scratch,
                "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "embedding_size": hidden,
                "hidden_size": hidden,
                "num_layers": 1,
                "loss_type": "CE",
                "train_neg_sample_args": None,
                "MAX_ITEM_LIST_LENGTH": length,
                "train_batch_size": batch,
                "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
                "use_gpu": False,
                "show_progress": False,
                "state": "ERROR",
                "checkpoint_dir": scratch,
            },
        )
        init_seed(0, True)
        train_data, *_ = data_preparation(config, create_dataset(config))
        model = get_model("GRU4Rec")(config, train_data.dataset)
        trainer = get_trainer(config["MODEL_TYPE"], "GRU4Rec")(config, model)
        # Its trainer's loop, which has no place to look in: RecBole's own loader, loss, clipping and optimiser.
        model.train()
        while True:
            for interaction in train_data:
                trainer.optimizer.zero_grad()
                loss = model.calculate_loss(interaction)
                loss.backward()
                if trainer.clip_grad_norm:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), **trainer.clip_grad_norm)
                trainer.optimizer.step()
                if not steady.step(len(interaction)):
                    raise Enough


PEERS: dict[str, Callable[..., None]] = {"rectools-sasrec": rectools_sasrec, "recbole-gru4rec": recbole_gru4rec}


def main() -> None:
    import torch

    peer, given, answer, settings = sys.argv[1:]
    wanted = json.loads(settings)
    torch.set_num_threads(wanted.pop("threads", 1))
    steady = Steady(wanted.pop("seconds"), WARM_UP)
    warnings.filterwarnings("ignore")
    with np.load(given) as file:
        events = dict(file)
    with contextlib.suppress(Enough):
        PEERS[peer](events, steady, **wanted)
    Path(answer).write_text(json.dumps(vars(steady.speed)))


if __name__ == "__main__":
    main()
