"""``SEEDS=10000 python -m tests.simulation``: so many simulated lives. ``SEED=n``: that one, with its trace.

``FIRST=n`` begins with another seed than 0, ``KINDS=crash,lost`` draws of these kinds of fault alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.simulation import KINDS, Simulation

#: Seeds that a process does before it says how they went.
AT_ONCE = 50


def broken(kinds: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A line for each of the seeds whose life breaks an invariant."""
    lines = []
    for seed in seeds:
        one = Simulation(seed, kinds)
        if said := one.run():
            lines.append(f"SEED={seed} ({', '.join(one.kinds)}): {'; '.join(said)}")
    return lines


def main() -> None:
    chosen = os.environ.get("KINDS")
    kinds = chosen.split(",") if chosen else KINDS
    if seed := os.environ.get("SEED"):
        one = Simulation(int(seed), kinds)
        said = one.run()
        print(one.told())
        sys.exit(1 if said else 0)
    first, count = int(os.environ.get("FIRST") or 0), int(os.environ.get("SEEDS") or 10_000)
    seeds = range(first, first + count)
    begun, failed = time.monotonic(), 0
    with ProcessPoolExecutor() as pool:
        for lines in pool.map(partial(broken, kinds), [seeds[at : at + AT_ONCE] for at in range(0, count, AT_ONCE)]):
            failed += len(lines)
            for line in lines:
                print(line, flush=True)
    print(f"{count:,} lives in {time.monotonic() - begun:.0f} s; in {failed} something was broken")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
