"""``python -m benchmarks.serving``: made-up models, no training; each number beside its peer's, and its target.

Clients speak with the processes themselves, without the gateway, which would be in both numbers alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from benchmarks.serving.load import Measured, alone, measure, usual
from benchmarks.serving.made_up import HIDDEN, RECIPE, USERS, Campaign, campaign
from benchmarks.serving.world import KEYS, Server, World, world
from shared.recipes.artifact import Artifact
from shared.recipes.distribution import find_best_items
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.serving.numpy_network import get_weight_shapes
from shared.recipes.hrnn.serving.shared_pass import SCANNED
from shared.storage.artifacts import Artifacts
from shared.store.redis import RedisStore

RUNTIME, EVENTS = "services.runtime.app:create_app()", "services.events.app:create_app()"
UNSCANNED = "benchmarks.serving.unscanned:create_app()"
CONSTANT, MINIMAL = "benchmarks.serving.constant:create_app()", "benchmarks.serving.minimal:create_app()"
#: Up to so many items a request is what is around the product, from so many on the product.
SMALL, LARGE = 2_000, 1_000_000
#: What is compared is measured in turns, so often, and the median taken: a machine has slower moments, and pauses.
TIMES = 5
Body = Callable[[int], Mapping[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--items", type=int, nargs="*", default=[2000], help="sizes of the catalogue")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4], help="runtimes, with the last catalogue")
    parser.add_argument("--scanned", action="store_true", help="only the large catalogues, with 8 bits and without")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, world(Path(scratch)) as here:
        store, artifacts = RedisStore(here.redis_url), Artifacts(here.data_dir / "artifacts")
        campaigns = []
        for items in chosen.items:  # one after the other: a runtime loads all that there are
            campaigns.append(campaign(store, artifacts, items))
            if items >= SCANNED:
                scanned(here, campaigns[-1], chosen.seconds)
            if not chosen.scanned:
                recommendations(here, campaigns[-1], chosen.seconds)
        if chosen.scanned:
            return
        put_events(here, campaigns[0], chosen.seconds)
        several(here, campaigns[-1], chosen.processes, chosen.seconds)


def recommendations(here: World, made: Campaign, seconds: float) -> None:
    """(a) GetRecommendations beside the bare product, a constant, and what a user would write."""
    print(f"\n## GetRecommendations, {made.items} items, hidden {HIDDEN}")
    body = partial(_recommendation, made)
    head("server", 1, 8)
    with (
        here.serving(RUNTIME) as [ours],
        here.serving(CONSTANT, BENCHMARK_SERVICE="personalize-runtime", BENCHMARK_IN_TURNS="true") as [constant],
        here.serving(CONSTANT, BENCHMARK_SERVICE="personalize-runtime") as [threaded],
        here.serving(MINIMAL, BENCHMARK_MODEL=str(made.model)) as [minimal],
    ):
        servers = {
            "foretaste": ours,
            "constant": constant,
            "constant, threads side by side": threaded,
            "minimal": minimal,
        }
        bare = _Bare(made)
        found = {each: _beside(servers, "/recommendations", body, seconds, each, beside=bare.run) for each in (1, 8)}
        for name in servers:
            row(name, *(median(times[name]) for times in found.values()))
        full = median(found[8]["foretaste"])
        rates = {
            "foretaste": 0.7 * full.rate,
            "constant, at that rate": 0.7 * full.rate,
            "constant, at 70 % of its own": 0.7 * median(found[8]["constant"]).rate,
        }
        servers = {name: ours if name == "foretaste" else constant for name in rates}
        plain: list[Measured] = []
        at_70 = _beside(
            servers,
            "/recommendations",
            body,
            TIMES * seconds,
            8,
            rates=rates,
            beside=lambda: plain.append(alone(full.cpu, 0.7, seconds)),
        )
    if made.items <= SMALL:
        for name in ("constant", "constant, threads side by side"):
            for connections, times in found.items():
                ratios = [one.rate / other.rate for one, other in zip(times["foretaste"], times[name], strict=True)]
                each = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
                target(f"of the requests/s of the {name} ({connections}; {each})", statistics.median(ratios), 0.7)
    target("of the minimal service's, by CPU time", median(found[8]["minimal"]).cpu / full.cpu, 1.0)
    ratio = _p99_to_p50(at_70["foretaste"])
    target(f"p99 / p50 at 70 % load, the median of {TIMES} times", ratio, 3.0, at_least=False)
    for name, times in {**at_70, "plain Python that takes as long, without a server": plain}.items():
        said = ", ".join(f"p50 {one.p50:.2f} and p99 {one.p99:.2f} ms" for one in times)
        print(f"{name}: {_p99_to_p50(times):.1f} ({said})")
    print(
        f"bare product and top 25: {statistics.median(bare.products):.3f} ms; one pass: "
        f"{statistics.median(bare.own_passes):.3f} ms, over mapped weights {statistics.median(bare.passes):.3f} ms"
    )
    if made.items >= LARGE:
        ratios = [product / one_pass for product, one_pass in zip(bare.products, bare.own_passes, strict=True)]
        target("bare product and top 25 / one pass", statistics.median(ratios), 1.3, at_least=False)
        ratios = [one.p50 / one_pass for one, one_pass in zip(found[1]["foretaste"], bare.passes, strict=False)]
        target("p50 of a request / one pass", statistics.median(ratios), 1.3, at_least=False)


def scanned(here: World, made: Campaign, seconds: float) -> None:
    """(d) A large catalogue's vectors in 8 bits, beside the same runtime that multiplies all of float32."""
    print(f"\n## GetRecommendations in 8 bits and without, {made.items} items, hidden {HIDDEN}")
    body = partial(_recommendation, made)
    head("server", 1, 8)
    with here.serving(RUNTIME) as [ours], here.serving(UNSCANNED) as [whole]:
        servers = {"8 bits": ours, "float32": whole}
        found = {each: _beside(servers, "/recommendations", body, seconds, each) for each in (1, 8)}
        memory = {name: (server.megabytes("Rss"), server.megabytes("Pss")) for name, server in servers.items()}
    for name in servers:
        row(name, *(median(times[name]) for times in found.values()))
    for name, (resident, shared_out) in memory.items():
        print(f"{name}: {resident:.0f} MB resident, {shared_out:.0f} MB of it own or shared out (PSS)")
    for connections, times in found.items():
        ratios = [one.rate / other.rate for one, other in zip(times["8 bits"], times["float32"], strict=True)]
        target(f"of the requests/s with float32 ({connections})", statistics.median(ratios), 3.0)
    if made.items >= LARGE:
        target("p50 of a request, ms", median(found[1]["8 bits"]).p50, 8.0, at_least=False)
    target("of the memory with float32", memory["8 bits"][1] / memory["float32"][1], 0.25, at_least=False)


def put_events(here: World, made: Campaign, seconds: float) -> None:
    """(b) PutEvents beside a constant, and Redis alone told the same bytes."""
    print("\n## PutEvents")
    head("server", 1, 8)
    with (
        here.serving(EVENTS) as [ours],
        here.serving(CONSTANT, BENCHMARK_SERVICE="personalize-events") as [constant],
    ):
        for count in (1, 10):
            body = partial(_events, made, count)
            servers = {"foretaste": ours, "constant": constant}
            found = [_beside(servers, "/events", body, seconds, each) for each in (1, 8)]
            for name in servers:
                row(f"{name}, {count} events", *(median(times[name]) for times in found))
            one, other = (median(times) for times in found[1].values())
            target("of the constant answer's requests/s", one.rate / other.rate, 0.5)
            target("of the constant answer's, by CPU time", other.cpu / one.cpu, 0.5)
            print(f"Redis alone, pipelined: {_pipelined(here, count):.0f} requests/s")


def several(here: World, made: Campaign, processes: list[int], seconds: float) -> None:
    """(c) Runtimes side by side: requests/s, and what they have in memory."""
    print(f"\n## Runtime processes, {made.items} items")
    print("| processes | requests/s | p50 ms | p99 ms | MB resident, all | MB of it own or shared out (PSS) |")
    print("|---|---|---|---|---|---|")
    for count in processes:
        with here.serving(RUNTIME, count) as servers:
            body = partial(_recommendation, made)
            _warm([server.url for server in servers], "/recommendations", body)
            said = _measured(servers, "/recommendations", body, seconds, 8)
            rss, pss = (sum(server.megabytes(kind) for server in servers) for kind in ("Rss", "Pss"))
        print(f"| {count} | {said.rate:.0f} | {said.p50:.2f} | {said.p99:.2f} | {rss:.0f} | {pss:.0f} |")


def _recommendation(made: Campaign, number: int) -> dict[str, Any]:
    return {"campaignArn": made.arn, "userId": made.user(number)}


def _events(made: Campaign, count: int, number: int) -> dict[str, Any]:
    sent = [
        {"eventType": "watch", "sentAt": time.time(), "itemId": made.item(number * count + place)}
        for place in range(count)
    ]
    return {"trackingId": made.tracking_id, "userId": made.user(number), "sessionId": "s", "eventList": sent}


@dataclass(frozen=True)
class Loaded(Measured):
    cpu: float
    """Milliseconds of the servers' CPU time for one request: what a busy machine leaves comparable."""


def median(times: Sequence[Loaded]) -> Loaded:
    """Of each number."""
    return Loaded(*(statistics.median(numbers) for numbers in zip(*map(astuple, times), strict=True)))


def _p99_to_p50(times: Sequence[Measured]) -> float:
    return statistics.median(one.p99 / one.p50 for one in times)


def _beside(
    servers: Mapping[str, Server],
    path: str,
    body: Body,
    seconds: float,
    connections: int,
    *,
    rates: Mapping[str, float] = MappingProxyType({}),
    beside: Callable[[], None] = lambda: None,
) -> Mapping[str, Sequence[Loaded]]:
    """Each for about so many seconds, in turns with each other and with what is measured ``beside`` them."""
    found: dict[str, list[Loaded]] = {name: [] for name in servers}
    for server in servers.values():
        _warm([server.url], path, body)
    for _ in range(TIMES):
        for name, server in servers.items():
            found[name].append(_measured([server], path, body, seconds / TIMES, connections, rates.get(name)))
        beside()
    return found


def _warm(urls: Sequence[str], path: str, body: Body) -> None:
    """Every server hears of every user once: it is not measured how histories are read for the first time."""
    measure(urls, path, body, KEYS, connections=len(urls), requests=USERS)


def _measured(
    servers: Sequence[Server], path: str, body: Body, seconds: float, connections: int, rate: float | None = None
) -> Loaded:
    """For about so many seconds, after a look at how many requests that takes."""
    urls = [server.url for server in servers]
    look = measure(urls, path, body, KEYS, connections=connections, requests=15)
    requests = min(max(20, round(seconds * (rate or look.rate) / connections)), 2000)
    before = sum(server.cpu_seconds() for server in servers)
    found = measure(urls, path, body, KEYS, connections=connections, requests=requests, rate=rate)
    spent = sum(server.cpu_seconds() for server in servers) - before
    return Loaded(found.rate, found.p50, found.p99, found.count, spent / found.count * 1e3)


class _Bare:
    """Milliseconds of the product and the top 25 in own memory, and of one pass: there, and over the mapped weights.

    A pass is the faster of a sum and a product. The kernel gives own memory large pages, and files small ones.
    """

    def __init__(self, made: Campaign) -> None:
        opened = Artifact.open(made.model, (RECIPE.name,))
        self._mapped_IH = opened.load_weights(*get_weight_shapes(HrnnConfig(**opened.form)))["item.weight"][:-1]
        self._own_IH = self._mapped_IH.copy()
        self._q_H = self._own_IH[0].copy()
        self.products: list[float] = []
        self.own_passes: list[float] = []
        self.passes: list[float] = []

    def run(self) -> None:
        self.products.append(usual(lambda: find_best_items(self._own_IH @ self._q_H, 25)))
        self.own_passes.append(self._one_pass(self._own_IH))
        self.passes.append(self._one_pass(self._mapped_IH))

    def _one_pass(self, vectors_IH: npt.NDArray[np.float32]) -> float:
        return min(usual(vectors_IH.sum), usual(lambda: vectors_IH @ self._q_H))


def _pipelined(here: World, count: int, requests: int = 2000, at_once: int = 50) -> float:
    """Requests/s where each event is an entry of a stream and of its user's list, and nothing is looked at."""
    client: Any = redis.Redis.from_url(here.redis_url)
    text = b'{"user_id":"u000001","session_id":"s","item_id":"i00000001","event_type":"watch","event_value":null,'
    text += b'"sent_at":1700000000.0,"event_id":null,"properties":{}}'
    began = time.perf_counter()
    for begin in range(0, requests, at_once):
        pipeline = client.pipeline(transaction=False)
        for number in range(begin, begin + at_once):
            for _ in range(count):
                pipeline.xadd("bare:stream", {"event": text})
                pipeline.rpush(f"bare:{number % 1000}", text)
            pipeline.ltrim(f"bare:{number % 1000}", -200, -1)
        pipeline.execute()
    return requests / (time.perf_counter() - began)


def head(first: str, *connections: int) -> None:
    columns = [f"{name} ({each})" for each in connections for name in ("requests/s", "p50 ms", "p99 ms", "CPU ms")]
    print(f"| {first} | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")


def row(name: str, *measured: Loaded) -> None:
    cells = [f"{one.rate:.0f} | {one.p50:.2f} | {one.p99:.2f} | {one.cpu:.2f}" for one in measured]
    print(f"| {name} | {' | '.join(cells)} |")


def target(what: str, ratio: float, wanted: float, *, at_least: bool = True) -> None:
    met = ratio >= wanted if at_least else ratio <= wanted
    bound = f"at {'least' if at_least else 'most'} {wanted:g}"
    print(f"{what}: {ratio:.2f} (target: {bound}; {'met' if met else 'missed'})")


if __name__ == "__main__":
    main()
