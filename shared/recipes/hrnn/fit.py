"""A fit of a network, in this process alone or with it as rank zero of several."""

from __future__ import annotations

from pathlib import Path

import torch

from shared.recipes.hrnn.distributed import state_transfer
from shared.recipes.hrnn.distributed.launcher import launch_ranks
from shared.recipes.hrnn.lightning_module import BestEpoch, FitCallback, HrnnModule
from shared.recipes.hrnn.lightning_trainer import FitSettings, choose_precision, create_logger, run_trainer
from shared.recipes.hrnn.rank import Rank
from shared.recipes.training_api import TrainingContext


def run_fit(
    fitting: HrnnModule, each_batch: FitCallback, checkpoint: Path, context: TrainingContext, logs: Path | None = None
) -> int:
    """Runs the epochs that the checkpoint does not have yet; returns how many the weights have behind them.

    Afterwards the network has the weights of its best epoch, or of its last where nobody validated. Raises Stopped, and
    WorkFailed where one of several ranks is lost.
    """
    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")["fitting"] if checkpoint.exists() else None
    if kept and kept["over"]:
        fitting.best = BestEpoch(**kept["best"])
        return fitting.load_best_weights()
    fitting.join_ranks(Rank(0, context.processes * context.nodes))
    terms = FitSettings(
        checkpoint=str(checkpoint),
        # Who was cut off within an epoch goes on only with as many streams: a setting may have changed since.
        resumed=bool(kept and (not kept["batch"] or kept["state"].shape[1] == fitting.plan.streams)),
        every_seconds=each_batch.every_seconds,
        precision=choose_precision(context.options),
        threads=max(1, torch.get_num_threads() // context.processes),
        processes=context.processes,
        nodes=context.nodes,
        cuda=fitting.streams.device.type == "cuda",
    )
    log = create_logger(context.options, logs)
    if fitting.rank.size == 1:
        run_trainer(fitting, each_batch, terms, context.gpus, log)
        return fitting.load_best_weights()
    path = checkpoint.with_suffix(".ranks")
    threads = torch.get_num_threads()
    torch.set_num_threads(terms.threads)
    try:
        state_transfer.save_fit(fitting, terms, path)
        with launch_ranks(path, context, each_batch.reporter.stop_if_asked, cuda=terms.cuda) as rank:
            fitting.join_ranks(rank)
            run_trainer(fitting, each_batch, terms, context.gpus, log)
    finally:
        torch.set_num_threads(threads)
        path.unlink(missing_ok=True)
    return fitting.load_best_weights()
