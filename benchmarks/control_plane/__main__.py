"""``python -m benchmarks.control_plane [COUNT]``: a system with COUNT (10,000) solutions, seen through boto3.

The peer is started beside the system: the same gunicorn, wire checks and gateway in front of a handler that answers a
constant of the same size. What is above it is foretaste's own.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peer import peer
from services.cli.client import connect
from services.cli.local.system import LocalSystem, SystemOptions, run_local_system
from services.cli.resource_life import ResourceLife
from shared.aws import request_schemas
from shared.aws.service_model import load_operations
from shared.resources import RESOURCES, ResourceReader
from shared.resources.resource_type import create_record
from shared.settings import Settings
from shared.store.redis import RedisStore

REQUESTS = 200
RECIPE = "arn:aws:personalize:::recipe/aws-hrnn"
TARGET = 5.0  # milliseconds above the constant


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        wishes = SystemOptions(data_dir=Path(scratch) / "system", buckets={})
        with (
            run_local_system(wishes, say=print, stopping=threading.Event()) as system,
            peer("benchmarks.control_plane.constant:create_app()", ["personalize"], system.client) as constant,
        ):
            ours = connect(system.client).control
            theirs = connect({**system.client, "AWS_ENDPOINT_URL_PERSONALIZE": constant}).control
            group = ResourceLife(connect(system.client), "benchmark").create_dataset_group()
            arns = fill(system, group, count)
            _report(ours, theirs, group, arns)
            _walk(ours, group, set(arns))


def fill(system: LocalSystem, group: str, count: int) -> list[str]:
    """So many solutions, checked and written as CreateSolution does, without the way over the wire."""
    store = RedisStore(_redis_url(system))
    reading, solution = ResourceReader(store, Settings()), RESOURCES["solution"]
    shape = load_operations("personalize")["CreateSolution"]
    arns = []
    for number in range(count):
        request = {"name": f"standing-{number:05}", "datasetGroupArn": group, "recipeArn": RECIPE}
        draft = solution.draft(request_schemas.load_request(shape, {**request, "performAutoTraining": False}), reading)
        arns.append(
            store.create(create_record(solution, draft, store.now()), invocation=draft.arn, guards=draft.guards)
        )
    return arns


def _redis_url(system: LocalSystem) -> str:
    lines = (system.data_dir.redis / "redis.conf").read_text().splitlines()
    conf = dict(line.split(" ", 1) for line in lines if " " in line)
    return f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"


def _report(ours: Any, theirs: Any, group: str, arns: list[str]) -> None:
    arn = itertools.cycle(arns[:: max(1, len(arns) // 97)])
    middle = _token(ours, group, len(arns) // 2)
    rows: list[tuple[str, Callable[[Any], Any]]] = [
        ("DescribeSolution", lambda client: client.describe_solution(solutionArn=next(arn))),
        ("ListSolutions, the newest 100", lambda client: client.list_solutions(datasetGroupArn=group)),
        ("ListSolutions, 100 in the middle", lambda client: client.list_solutions(datasetGroupArn=group, **middle)),
    ]
    print(f"\nof {len(arns):,} solutions, medians of {REQUESTS} requests by boto3\n")
    print("| operation | p50 ms | constant, p50 ms | above ms | target |\n|---|---|---|---|---|")
    for name, ask in rows:
        mine, constant = measure(ask, ours, theirs)
        met = "met" if mine - constant < TARGET else "MISSED"
        print(f"| {name} | {mine:.1f} | {constant:.1f} | {mine - constant:.1f} | < {TARGET:g}: {met} |")


def _token(client: Any, group: str, skipped: int) -> Mapping[str, str]:
    """What a client says that has seen so many solutions."""
    pages = client.get_paginator("list_solutions").paginate(datasetGroupArn=group)
    tokens = [page["nextToken"] for page in itertools.islice(pages, skipped // 100) if "nextToken" in page]
    return {"nextToken": tokens[-1]} if tokens else {}


def measure(ask: Callable[[Any], Any], *clients: Any) -> list[float]:
    """Median milliseconds of each client, which take turns, so that what slows the machine slows them alike."""
    took: list[list[float]] = [[] for _ in clients]
    for _ in range(REQUESTS + 20):
        for client, times in zip(clients, took, strict=True):
            began = time.perf_counter()
            ask(client)
            times.append((time.perf_counter() - began) * 1e3)
    return [statistics.median(times[20:]) for times in took]


def _walk(client: Any, group: str, standing: set[str]) -> None:
    with _guests(client, group) as made:
        began = time.perf_counter()
        pages = client.get_paginator("list_solutions").paginate(datasetGroupArn=group)
        met = [row["solutionArn"] for page in pages for row in page["solutions"]]
        seconds = time.perf_counter() - began
    own = [arn for arn in met if arn in standing]
    lost, repeated = len(standing - set(own)), len(met) - len(set(met))
    print(
        f"\n{len(standing):,} solutions listed by pages in {seconds:.1f} s while {made[0]} others were created and "
        f"deleted: {lost} lost, {repeated} repeated"
    )
    if lost or repeated:
        sys.exit(1)


@contextmanager
def _guests(client: Any, group: str) -> Iterator[list[int]]:
    """Solutions that come and go until the end of the block; counts them."""
    over, made = threading.Event(), [0]

    def live() -> None:
        while not over.is_set():
            created = client.create_solution(name=f"guest-{made[0]}", datasetGroupArn=group, recipeArn=RECIPE)
            client.delete_solution(solutionArn=created["solutionArn"])
            made[0] += 1

    guests = threading.Thread(target=live)
    guests.start()
    try:
        yield made
    finally:
        over.set()
        guests.join()


if __name__ == "__main__":
    main()
