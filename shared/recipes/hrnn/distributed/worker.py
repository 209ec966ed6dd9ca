"""The process of a rank beyond zero.

    python -m shared.recipes.hrnn.distributed.worker HOST PORT NUMBER PLACE DEVICES

HOST and PORT are where rank zero's store is, NUMBER that of the rank, PLACE that among the processes of its machine,
DEVICES the numbers of the machine's GPUs, with commas. It says and writes nothing, and ends with who started it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def run_rank(host: str, port: int, number: int, place: int, devices: list[int]) -> None:
    # Here, and not before it is looked whether who started it is still there: this takes seconds.
    import torch
    from torch import distributed

    from shared.recipes.hrnn.distributed import state_transfer
    from shared.recipes.hrnn.distributed.process_group import connect_store, join_group, read_assignment
    from shared.recipes.hrnn.lightning_module import FitCallback
    from shared.recipes.hrnn.lightning_trainer import run_trainer
    from shared.recipes.hrnn.rank import Rank
    from shared.recipes.progress import ProgressReporter

    store = connect_store((host, port))
    order = read_assignment(store)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", devices[place] if devices else place)
    fitting, terms = state_transfer.load_fit(Path(order.path), device)
    torch.set_num_threads(terms.threads)
    store.add("arrived", 1)
    fitting.join_ranks(join_group(store, Rank(number, order.size, place), cuda=terms.cuda))
    silent = ProgressReporter.create_silent(fitting.epochs)
    checkpoint = Path(terms.checkpoint)
    run_trainer(fitting, FitCallback(silent, "training", 0, checkpoint, terms.every_seconds), terms, devices)
    distributed.destroy_process_group()


def _exit_with_parent() -> None:
    while os.read(0, 64):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    host, port, number, place, devices = sys.argv[1:]
    run_rank(host, int(port), int(number), int(place), [int(device) for device in devices.split(",") if device])
