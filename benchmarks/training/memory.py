"""Peak memory of training on many made-up interactions, mapped from files as a solution version's are."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.quality import ours
from benchmarks.training import made_up
from benchmarks.training.steady import Steady, peak_mib
from shared.data.arrays.histories import Histories


def show(*, events: int, items: int, hidden: int, threads: int, seconds: float, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        files = Path(scratch) / "histories"
        made_up.interactions(events, items=items).save(files)
        size = sum(path.stat().st_size for path in files.iterdir())
        # A process of its own, so that its peak is not that of making the data.
        settings = {"hidden": hidden, "threads": threads, "seconds": seconds}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.training.memory", str(files), json.dumps(settings)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"\n## {events:,} made-up interactions with {items:,} items, {size / 2**20:,.0f} MiB of arrays, "
          f"hidden {hidden}, {threads} thread(s)\n")  # fmt: skip
    print("| with what it imports MiB | peak MiB | of it made up by mapped files at the end MiB | steps | events/s |")
    print("|---|---|---|---|---|")
    print(f"| {found['before']:,.0f} | {found['peak']:,.0f} | {found['mapped']:,.0f} | {found['steps']} "
          f"| {found['rate']:,.0f} |")  # fmt: skip


def main() -> None:
    files, settings = sys.argv[1:]
    wanted = json.loads(settings)
    before = peak_mib()
    histories = Histories.open(Path(files))
    steady = Steady(wanted["seconds"])
    setting = ours.Setting(parameters={"hidden_dimension": str(wanted["hidden"])}, threads=wanted["threads"])
    learner = ours.run_steps(histories, setting, steady.step)
    mapped = _mapped()
    del learner
    answer = {
        "before": before,
        "peak": peak_mib(),
        "mapped": mapped,
        "steps": steady.speed.steps,
        "rate": steady.speed.a_second,
    }
    print(json.dumps(answer))


def _mapped() -> float:
    """MiB of files in this process's memory, which the system may drop when others need it; 0 where it cannot tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile"))


if __name__ == "__main__":
    main()
