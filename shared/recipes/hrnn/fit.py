"""A fit of a network, in this process alone or with it as rank zero of several."""

from __future__ import annotations

from pathlib import Path

import torch

from shared.recipes.hrnn.distributed import state_transfer
from shared.recipes.hrnn.distributed.launcher import leading
from shared.recipes.hrnn.lightning_module import AtEachBatch, Best, Fitting
from shared.recipes.hrnn.lightning_trainer import Terms, logger, precision, run
from shared.recipes.hrnn.rank import Rank
from shared.recipes.training_api import TrainingContext


def fit(
    fitting: Fitting, each_batch: AtEachBatch, checkpoint: Path, context: TrainingContext, logs: Path | None = None
) -> int:
    """Runs the epochs that the checkpoint does not have yet; returns how many the weights have behind them.

    Afterwards the network has the weights of its best epoch, or of its last where nobody validated. Raises Stopped, and
    WorkFailed where one of several ranks is lost.
    """
    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")["fitting"] if checkpoint.exists() else None
    if kept and kept["over"]:
        fitting.best = Best(**kept["best"])
        return fitting.take_best()
    fitting.join(Rank(0, context.processes * context.nodes))
    terms = Terms(
        checkpoint=str(checkpoint),
        # Who was cut off within an epoch goes on only with as many streams: a setting may have changed since.
        resumed=bool(kept and (not kept["batch"] or kept["state"].shape[1] == fitting.plan.streams)),
        every_seconds=each_batch.every_seconds,
        precision=precision(context.options),
        threads=max(1, torch.get_num_threads() // context.processes),
        processes=context.processes,
        nodes=context.nodes,
        cuda=fitting.streams.device.type == "cuda",
    )
    log = logger(context.options, logs)
    if fitting.rank.size == 1:
        run(fitting, each_batch, terms, context.gpus, log)
        return fitting.take_best()
    path = checkpoint.with_suffix(".ranks")
    threads = torch.get_num_threads()
    torch.set_num_threads(terms.threads)
    try:
        state_transfer.write(fitting, terms, path)
        with leading(path, context, each_batch.reporter.stop_if_asked, cuda=terms.cuda) as rank:
            fitting.join(rank)
            run(fitting, each_batch, terms, context.gpus, log)
    finally:
        torch.set_num_threads(threads)
        path.unlink(missing_ok=True)
    return fitting.take_best()
