"""The group of processes that train one network together: their assignment, and their meeting point.

Rank zero is the process of the job: it starts the other ranks (``launcher.py``), reports progress, validates, and
writes the artifact. Each other rank runs ``worker.py``. They meet at a store of rank zero's:

    order       JSON, ``RankAssignment``: the work to do
    arrived     how many of the other ranks have read it and are ready
    lost        the reason for which a rank of another node died
    over        rank zero has ended
    group/...   torch.distributed's own
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta

from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined, unused-ignore]
from torch.distributed.distributed_c10d import PrefixStore, Store

from shared.recipes.hrnn.rank import COLLECTIVE_SECONDS, Rank

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, kw_only=True)
class RankAssignment:
    """The work that rank zero gives to the other ranks."""

    path: str
    """The file of ``state_transfer.py``, at the same path on all nodes."""
    processes: int
    """The processes of each node."""
    size: int
    """The number of ranks."""
    name: str
    """A unique name."""


def join_group(store: Store, rank: Rank, *, cuda: bool) -> Rank:
    """Join the group of all ranks: by NCCL among GPUs, else by gloo."""
    patience = timedelta(seconds=COLLECTIVE_SECONDS)
    distributed.init_process_group(
        "nccl" if cuda else "gloo",
        store=PrefixStore("group", store),
        rank=rank.number,
        world_size=rank.size,
        timeout=patience,
    )
    return replace(rank, decision_group=distributed.new_group(backend="gloo", timeout=patience) if cuda else None)


def connect_store(address: Address) -> TCPStore:
    """Connect to rank zero's store. Raises ``torch.distributed.DistError`` if it is gone."""
    return TCPStore(*address, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=30))


def read_assignment(store: Store) -> RankAssignment:
    """Return the assignment, once rank zero has written it."""
    return RankAssignment(**json.loads(store.get("order")))
