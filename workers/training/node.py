"""A further node of distributed training: ``python -m workers.training.node``, once on each machine but the first.

It takes no jobs from the queue. It waits until a training worker of node 0 begins a distributed one, runs its machine's
share, and waits again. The settings are those of node 0, but for FORETASTE_TRAINING_NODE_RANK.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator

import structlog
from torch import distributed
from torch.distributed.distributed_c10d import Store

from shared import settings
from shared.jobs.entrypoint import WorkFailed
from shared.observability import logging
from shared.recipes.hrnn.distributed.launcher import Started, address_of
from shared.recipes.hrnn.distributed.process_group import Address, Order, ordered, reached
from shared.settings import Settings
from workers.training import devices

log = structlog.get_logger()

POLL_SECONDS = 0.5


def serve_trainings(configured: Settings) -> None:
    """Never returns. Raises WorkFailed where the settings are not those of a further node."""
    if not configured.training_master or not 0 < configured.training_node_rank < configured.training_num_nodes:
        raise WorkFailed(
            "A further node needs FORETASTE_TRAINING_MASTER, and a FORETASTE_TRAINING_NODE_RANK from 1 to below "
            "FORETASTE_TRAINING_NUM_NODES."
        )
    address = address_of(configured.training_master)
    log.info("waiting for trainings", node=configured.training_node_rank, master=configured.training_master)
    done = ""
    while True:
        # That rank zero is no more, or about to come, is how it is most of the time.
        with contextlib.suppress(distributed.DistError, OSError):
            socket.create_connection(address, timeout=5).close()
            store = reached(address)
            order = ordered(store)
            if order.name != done and not store.check(["over"]):
                done = order.name
                with devices.grant_devices(configured, lambda: None) as numbers:
                    run_ranks(store, order, address, configured.training_node_rank, numbers)
        time.sleep(POLL_SECONDS)


def run_ranks(store: Store, order: Order, address: Address, node: int, numbers: tuple[int, ...]) -> None:
    """Runs this node's ranks until rank zero has ended or one of them has died, which rank zero is told."""
    log.info("taking part", path=order.path)
    with _end_afterwards(Started(range(order.processes), order, address, numbers, node * order.processes)) as started:
        while not store.check(["over"]):
            if reason := started.lost():
                log.error("lost", reason=reason)
                store.set("lost", f"{reason} It was on node {node}.")
                return
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _end_afterwards(started: Started) -> Iterator[Started]:
    try:
        yield started
    finally:
        started.end()


if __name__ == "__main__":
    configured = settings.load()
    logging.configure_logging(configured, "training-rank")
    try:
        serve_trainings(configured)
    except WorkFailed as error:
        log.error("not a further node", reason=str(error))  # noqa: TRY400 - the reason says it all
        sys.exit(2)
