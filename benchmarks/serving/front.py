"""``python -m benchmarks.serving.front``: what the gateway adds to a request, and what slow clients do to others.

GetRecommendations of a made-up model, through the gateway and without it, at 1 and 8 connections; and through it beside
connections that say nothing and such that send a byte a second. ``--beside TREE`` measures another commit's gateway (a
checkout of it) in the same turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from benchmarks.serving.__main__ import RUNTIME, TIMES, Loaded, _beside, _measured, _recommendation, head, median, row
from benchmarks.serving.made_up import campaign
from benchmarks.serving.world import Server, world
from shared.storage.artifacts import Artifacts
from shared.store.redis import RedisStore

HERE = Path(__file__).parents[2]
#: Beside slow connections a gateway is given so long (seconds) for a first answer.
PATIENCE = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.front")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--idle", type=int, default=2000, help="connections that say nothing")
    parser.add_argument("--slow", type=int, default=500, help="connections that send a byte a second")
    parser.add_argument("--beside", type=Path, help="a checkout of another commit")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, world(Path(scratch)) as here, ExitStack() as stack:
        made = campaign(RedisStore(here.redis_url), Artifacts(here.data_dir / "artifacts"), 2000)
        body = partial(_recommendation, made)
        [runtime] = stack.enter_context(here.serving(RUNTIME))
        gateways = {"gateway": stack.enter_context(here.gateway(runtime.url, HERE))}
        if chosen.beside is not None:
            other = chosen.beside.absolute()
            gateways["other gateway"] = stack.enter_context(here.gateway(runtime.url, other))
        servers = {"runtime": runtime, **gateways}
        print("\n## The hop: GetRecommendations (CPU of the process that is asked)")
        head("server", 1, 8)
        found = {each: _beside(servers, "/recommendations", body, chosen.seconds, each) for each in (1, 8)}
        for name in servers:
            row(name, *(median(times[name]) for times in found.values()))
        if "other gateway" in servers:
            for each, times in found.items():
                pairs = zip(times["gateway"], times["other gateway"], strict=True)
                ratios = sorted(one.rate / other.rate for one, other in pairs)
                listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                print(f"requests/s, gateway / other gateway ({each}): {statistics.median(ratios):.2f} ({listed})")
        for name, server in gateways.items():
            _beside_slow(name, server, partial(_measured, [server], "/recommendations", body, chosen.seconds), chosen)


def _beside_slow(name: str, server: Server, measured: partial[Loaded], chosen: argparse.Namespace) -> None:
    print(f"\n## {name}: beside {chosen.idle} idle and {chosen.slow} slow connections")
    for connections in (1, 8):
        without, beside = [], []
        for _ in range(TIMES):
            without.append(measured(connections))
            with slow_connections(server.url, chosen.idle, chosen.slow):
                if not _answers(server.url):
                    print(f"no answer within {PATIENCE:.0f} s")
                    return
                beside.append(measured(connections))
                megabytes = server.megabytes("Rss")
        _say(connections, {"without": without, "beside": beside})
    print(f"memory beside them: {megabytes:.0f} MB resident")


def _say(connections: int, times: Mapping[str, list[Loaded]]) -> None:
    for which, found in times.items():
        one = median(found)
        print(f"{which} ({connections}): {one.rate:.0f} requests/s, p50 {one.p50:.2f} ms, p99 {one.p99:.2f} ms")
    ratios = [two.p99 / one.p99 for one, two in zip(*times.values(), strict=True)]
    listed = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"p99 beside / without ({connections}): {statistics.median(ratios):.2f} ({listed}); at most 1.5")


@contextmanager
def slow_connections(url: str, idle: int, slow: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.serving.slow", url, str(idle), str(slow)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()  # all are open
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()


def _answers(url: str) -> bool:
    with suppress(OSError), urlopen(f"{url}/ping", timeout=PATIENCE):
        return True
    return False


if __name__ == "__main__":
    main()
