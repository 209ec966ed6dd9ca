"""One process of a fit in Lightning: alone, or as one of several ranks by Lightning's ddp."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins import ClusterEnvironment
from pytorch_lightning.strategies import DDPStrategy

from shared.recipes.hrnn.lightning_module import FitCallback, HrnnModule
from shared.recipes.hrnn.rank import COLLECTIVE_SECONDS, Rank
from shared.recipes.training_api import TrainingOptions

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a fitting is run, by every rank alike."""

    checkpoint: str
    resumed: bool
    """Does it go on from the checkpoint?"""
    every_seconds: float
    precision: Precision
    threads: int
    """Of each rank."""
    processes: int
    """Of each node."""
    nodes: int
    cuda: bool


def run_trainer(
    fitting: HrnnModule, each_batch: FitCallback, terms: FitSettings, devices: Sequence[int], log: Any = False
) -> None:
    """One rank's part; ``devices`` are the numbers of its machine's GPUs that take part, () the first."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="cuda" if terms.cuda else "cpu",
        devices=(list(devices) or list(range(terms.processes)))[: terms.processes] if terms.cuda else terms.processes,
        num_nodes=terms.nodes,
        strategy="auto" if fitting.rank.size == 1 else _create_ddp_strategy(fitting.rank, terms),
        precision=terms.precision,
        max_epochs=fitting.epochs,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[each_batch],
        default_root_dir=Path(terms.checkpoint).parent,
        logger=log,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    fitting.train()
    with warnings.catch_warnings():
        # Lightning asks torch for a class by its old name at every batch.
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\.utilities\._pytree")
        # Epoch goes on at the batch that comes next; Lightning can't know.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
        trainer.fit(fitting, ckpt_path=terms.checkpoint if terms.resumed else None, weights_only=True)


def _create_ddp_strategy(rank: Rank, terms: FitSettings) -> DDPStrategy:
    return DDPStrategy(
        cluster_environment=_RankEnvironment(rank, terms.processes),
        process_group_backend="nccl" if terms.cuda else "gloo",
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
        # The buffers are what is known of the items, the same for all.
        forward_sync_buffers=False,
    )


class _RankEnvironment(ClusterEnvironment):
    """Tells Lightning who this process is; those that train together have met already."""

    creates_processes_externally = True
    main_address, main_port = "", 0

    def __init__(self, rank: Rank, processes: int) -> None:
        super().__init__()
        self._rank = rank
        self._processes = processes

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._rank.size

    def global_rank(self) -> int:
        return self._rank.number

    def local_rank(self) -> int:
        return self._rank.local

    def node_rank(self) -> int:
        return self._rank.number // self._processes

    def set_world_size(self, size: int) -> None:
        assert size == self._rank.size  # noqa: S101 - Lightning counts devices and nodes

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._rank.number  # noqa: S101


def choose_precision(options: TrainingOptions) -> Precision:
    if options.precision != "auto":
        return options.precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


def create_logger(options: TrainingOptions, logs: Path | None) -> Any:
    """Lightning's logger into this folder; False for none."""
    if options.logger == "none" or logs is None:
        return False
    loggers = {"csv": lightning.loggers.CSVLogger, "tensorboard": lightning.loggers.TensorBoardLogger}
    return loggers[options.logger](save_dir=logs.parent, name=logs.name, version="")
