"""The process of a rank beyond zero.

    python -m shared.recipes.hrnn.distributed.worker HOST PORT NUMBER PLACE DEVICES

HOST and PORT are those of rank zero's store, NUMBER is the rank's, PLACE its index among the processes of its machine,
DEVICES the numbers of the machine's GPUs, with commas. It reports and writes nothing, and ends with its parent.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def run_rank(host: str, port: int, number: int, place: int, devices: list[int]) -> None:
    """Join the group and train this rank's share of the fit."""
    # These imports take seconds, so that the thread that watches the parent starts before them.
    import torch
    from torch import distributed

    from shared.recipes.hrnn.distributed import state_transfer
    from shared.recipes.hrnn.distributed.process_group import connect_store, join_group, read_assignment
    from shared.recipes.hrnn.lightning_module import FitCallback
    from shared.recipes.hrnn.lightning_trainer import run_trainer
    from shared.recipes.hrnn.rank import Rank
    from shared.recipes.progress import ProgressReporter

    store = connect_store((host, port))
    assignment = read_assignment(store)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", devices[place] if devices else place)
    module, fit_settings = state_transfer.load_fit(Path(assignment.path), device)
    torch.set_num_threads(fit_settings.threads)
    store.add("arrived", 1)
    module.join_ranks(join_group(store, Rank(number, assignment.size, place), cuda=fit_settings.cuda))
    silent = ProgressReporter.create_silent(module.epochs)
    checkpoint = Path(fit_settings.checkpoint)
    run_trainer(
        module, FitCallback(silent, "training", 0, checkpoint, fit_settings.every_seconds), fit_settings, devices
    )
    distributed.destroy_process_group()


def _exit_with_parent() -> None:
    """End this process when stdin closes, as it does when the parent ends."""
    while os.read(0, 64):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    host, port, number, place, devices = sys.argv[1:]
    run_rank(host, int(port), int(number), int(place), [int(device) for device in devices.split(",") if device])
