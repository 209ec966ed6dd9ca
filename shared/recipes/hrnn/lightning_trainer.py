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
    """The settings of a fit, the same for every rank."""

    checkpoint: str
    resumed: bool
    """True: continue from the checkpoint."""
    every_seconds: float
    precision: Precision
    threads: int
    """The threads of each rank."""
    processes: int
    """The processes of each node."""
    nodes: int
    cuda: bool


def run_trainer(
    module: HrnnModule, callback: FitCallback, fit_settings: FitSettings, devices: Sequence[int], logger: Any = False
) -> None:
    """Train one rank's share. ``devices`` are the numbers of its machine's GPUs that take part; (): the first."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="cuda" if fit_settings.cuda else "cpu",
        devices=(list(devices) or list(range(fit_settings.processes)))[: fit_settings.processes]
        if fit_settings.cuda
        else fit_settings.processes,
        num_nodes=fit_settings.nodes,
        strategy="auto" if module.rank.size == 1 else _create_ddp_strategy(module.rank, fit_settings),
        precision=fit_settings.precision,
        max_epochs=module.epochs,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[callback],
        default_root_dir=Path(fit_settings.checkpoint).parent,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module.train()
    with warnings.catch_warnings():
        # Lightning uses a deprecated name of torch's at every batch.
        warnings.filterwarnings("ignore", module=r"pytorch_lightning\.utilities\._pytree")
        # EpochWindows continues at the next batch, which Lightning does not know.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
        trainer.fit(module, ckpt_path=fit_settings.checkpoint if fit_settings.resumed else None, weights_only=True)


def _create_ddp_strategy(rank: Rank, fit_settings: FitSettings) -> DDPStrategy:
    return DDPStrategy(
        cluster_environment=_RankEnvironment(rank, fit_settings.processes),
        process_group_backend="nccl" if fit_settings.cuda else "gloo",
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
        # The buffers are features of the items, the same on all ranks.
        forward_sync_buffers=False,
    )


class _RankEnvironment(ClusterEnvironment):
    """Tells Lightning this process's rank. The process group exists already."""

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
    """Return the operator's choice, or for "auto" bfloat16 on GPUs that support it."""
    if options.precision != "auto":
        return options.precision
    return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"


def create_logger(options: TrainingOptions, logs: Path | None) -> Any:
    """Create Lightning's logger into this folder; False: no logger."""
    if options.logger == "none" or logs is None:
        return False
    loggers = {"csv": lightning.loggers.CSVLogger, "tensorboard": lightning.loggers.TensorBoardLogger}
    return loggers[options.logger](save_dir=logs.parent, name=logs.name, version="")
