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
    module: HrnnModule, callback: FitCallback, checkpoint: Path, context: TrainingContext, logs: Path | None = None
) -> int:
    """Run the epochs that the checkpoint lacks; return the epochs that the final weights were trained for.

    Afterwards the network has the weights of its best epoch, or of its last without validation. Raises TrainingStopped,
    and WorkFailed if one of several ranks is lost.
    """
    kept = torch.load(checkpoint, weights_only=True, map_location="cpu")["fitting"] if checkpoint.exists() else None
    if kept and kept["over"]:
        module.best = BestEpoch.from_checkpoint(kept["best"])
        return module.load_best_weights()
    module.join_ranks(Rank(0, context.processes * context.nodes))
    fit_settings = FitSettings(
        checkpoint=str(checkpoint),
        # An epoch is resumed only with the same number of streams: a setting may have changed since.
        resumed=bool(kept and (not kept["batch"] or kept["state"].shape[1] == module.plan.streams)),
        every_seconds=callback.every_seconds,
        precision=choose_precision(context.options),
        threads=max(1, torch.get_num_threads() // context.processes),
        processes=context.processes,
        nodes=context.nodes,
        cuda=module.streams.device.type == "cuda",
    )
    logger = create_logger(context.options, logs)
    if module.rank.size == 1:
        run_trainer(module, callback, fit_settings, context.gpus, logger)
        return module.load_best_weights()
    path = checkpoint.with_suffix(".ranks")
    threads = torch.get_num_threads()
    torch.set_num_threads(fit_settings.threads)
    try:
        state_transfer.save_fit(module, fit_settings, path)
        with launch_ranks(path, context, callback.reporter.stop_if_asked, cuda=fit_settings.cuda) as rank:
            module.join_ranks(rank)
            run_trainer(module, callback, fit_settings, context.gpus, logger)
    finally:
        torch.set_num_threads(threads)
        path.unlink(missing_ok=True)
    return module.load_best_weights()
