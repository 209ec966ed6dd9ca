"""``python -m benchmarks.batch``: made-up models, no training; each part in a process of its own, on one core."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

PARTS = ("users", "catalogue", "lines")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--items", type=int, nargs="*", default=[100_000, 1_000_000], help="sizes of the catalogue")
    parser.add_argument("--events", type=int, nargs="*", default=[20, 100], help="events of a user, with catalogues")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of the job whose memory is measured")
    chosen = parser.parse_args()
    for part in chosen.parts or PARTS:
        if part == "catalogue":
            for items in chosen.items:
                for events in chosen.events:
                    run_part(part, items, events, chosen.hidden)
        else:
            run_part(part, chosen.lines, 0, chosen.hidden)


def run_part(part: str, size: int, events: int, hidden: int) -> None:
    """Run one part alone on one core, with one thread for products of matrices."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.batch.measure", part, str(size), str(events), str(hidden)]
    subprocess.run(command, check=True, env={**os.environ, **threads})


if __name__ == "__main__":
    main()
