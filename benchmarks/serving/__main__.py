"""``python -m benchmarks.serving [FOLDER]``: a system, a model of FOLDER's data (or the demo's catalogue), and a load.

FOLDER holds interactions.csv. The peer is started beside the system: the same gunicorn, wire checks and gateway in
front of a handler that answers a constant.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peer import peer
from benchmarks.serving.load import measure
from services.cli import catalogue, tables
from services.cli.client import connect
from services.cli.life import Life
from services.cli.system import Wishes, local_system

CONNECTIONS = (1, 8)
REQUESTS = 400
SERVICES = ("personalize-runtime", "personalize-events")


@dataclass(frozen=True)
class Deployed:
    """A campaign and a tracker, and whom and what they know."""

    campaign: str
    tracking_id: str
    users: list[str]
    items: list[str]


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(scratch) / "films"
        if len(sys.argv) == 1:
            catalogue.write(data)
        wishes = Wishes(data_dir=Path(scratch) / "system", buckets={"data": data})
        with (
            local_system(wishes, say=print, stopping=threading.Event()) as system,
            peer("benchmarks.serving.constant:create_app()", SERVICES, system.client) as constant,
        ):
            _report(system.client, _deploy(system.client, data), constant)


def _deploy(client: Mapping[str, str], data: Path) -> Deployed:
    life = Life(connect(client), "benchmark")
    group = life.dataset_group()
    [interactions, *_] = tables.read(data)
    dataset = life.dataset(group, interactions.dataset_type, interactions.schema)
    life.dataset_import(dataset, "benchmark", "s3://data/interactions.csv")
    solution = life.solution(group, "aws-hrnn")
    version = life.solution_version(solution)
    with interactions.path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Deployed(
        campaign=life.campaign(version),
        tracking_id=life.event_tracker(group),
        users=sorted({row["USER_ID"] for row in rows}),
        items=sorted({row["ITEM_ID"] for row in rows}),
    )


def _report(client: Mapping[str, str], deployed: Deployed, constant: str) -> None:
    url = client["AWS_ENDPOINT_URL_PERSONALIZE"]

    def recommendation(number: int) -> dict[str, Any]:
        return {"campaignArn": deployed.campaign, "userId": deployed.users[number % len(deployed.users)]}

    def events(number: int) -> dict[str, Any]:
        event = {"eventType": "watch", "sentAt": time.time(), "itemId": deployed.items[number % len(deployed.items)]}
        user = deployed.users[number % len(deployed.users)]
        return {"trackingId": deployed.tracking_id, "userId": user, "sessionId": "s", "eventList": [event]}

    rows = [
        ("GetRecommendations", "/recommendations", recommendation),
        ("PutEvents, 1 event", "/events", events),
    ]
    print("| operation | connections | requests/s | p50 ms | p99 ms | constant/s | its p50 | its p99 | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, path, body in rows:
        for connections in CONNECTIONS:
            for server in (url, constant):
                measure(server, path, body, client, connections=2, requests=50)  # warm
            ours = measure(url, path, body, client, connections=connections, requests=REQUESTS)
            theirs = measure(constant, path, body, client, connections=connections, requests=REQUESTS)
            print(
                f"| {name} | {connections} | {ours.rate:.0f} | {ours.p50:.1f} | {ours.p99:.1f} | {theirs.rate:.0f} "
                f"| {theirs.p50:.1f} | {theirs.p99:.1f} | {ours.rate / theirs.rate:.2f} |"
            )


if __name__ == "__main__":
    main()
