"""A further node of distributed training: ``python -m workers.training.node``, once on each machine but the first.

It takes no jobs from the queue. It waits until a training worker of node 0 starts a distributed training, runs the
ranks of its own machine, and waits again. Its settings are those of node 0, except for FORETASTE_TRAINING_NODE_RANK.
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
from shared.recipes.hrnn.distributed.launcher import RankProcesses, parse_address
from shared.recipes.hrnn.distributed.process_group import Address, RankAssignment, connect_store, read_assignment
from shared.settings import Settings
from workers.training import devices

log = structlog.get_logger()

POLL_SECONDS = 0.5


def serve_trainings(configured: Settings) -> None:
    """Run the ranks of one training after another, forever. Raises WorkFailed if the settings name no further node."""
    if not configured.training_master or not 0 < configured.training_node_rank < configured.training_num_nodes:
        raise WorkFailed(
            "A further node needs FORETASTE_TRAINING_MASTER, and a FORETASTE_TRAINING_NODE_RANK from 1 to below "
            "FORETASTE_TRAINING_NUM_NODES."
        )
    address = parse_address(configured.training_master)
    log.info("waiting for trainings", node=configured.training_node_rank, master=configured.training_master)
    done = ""
    while True:
        # Most of the time there is no rank zero to connect to.
        with contextlib.suppress(distributed.DistError, OSError):
            socket.create_connection(address, timeout=5).close()
            store = connect_store(address)
            order = read_assignment(store)
            if order.name != done and not store.check(["over"]):
                done = order.name
                with devices.grant_devices(configured, lambda: None) as numbers:
                    run_ranks(store, order, address, configured.training_node_rank, numbers)
        time.sleep(POLL_SECONDS)


def run_ranks(store: Store, order: RankAssignment, address: Address, node: int, numbers: tuple[int, ...]) -> None:
    """Run this node's ranks until rank zero has ended, or until one of them dies; report a death to rank zero."""
    log.info("distributed training joined", path=order.path)
    with _end_afterwards(
        RankProcesses(range(order.processes), order, address, numbers, node * order.processes)
    ) as started:
        while not store.check(["over"]):
            if reason := started.find_lost_rank():
                log.error("rank lost", reason=reason)
                store.set("lost", f"{reason} It was on node {node}.")
                return
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _end_afterwards(started: RankProcesses) -> Iterator[RankProcesses]:
    try:
        yield started
    finally:
        started.kill_all()


if __name__ == "__main__":
    configured = settings.load()
    logging.configure_logging(configured, "training-rank")
    try:
        serve_trainings(configured)
    except WorkFailed as error:
        log.error("settings are not those of a further node", reason=str(error))  # noqa: TRY400 - the reason is enough
        sys.exit(2)
