"""``SEED=1 MINUTES=10 python -m tests.chaos``: a life under chaos, and what it came to.

``KINDS=kill,full`` strikes with these kinds alone, ``KINDS=none`` with none.
``TABLE=docs/user/reliability.md`` puts the table into that page; ``LOGS=folder`` keeps the logs of a run that failed.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.chaos import run, table
from tests.chaos.faults import KINDS

#: A small disk can be mounted by root alone.
POSSIBLE = tuple(kind for kind in KINDS if kind != "full" or os.geteuid() == 0)
GROUPS = {None: POSSIBLE, "": POSSIBLE, "none": ()}
BEGIN, END = "<!-- what make chaos has found -->", "<!-- until here -->"


def main() -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    minutes = float(os.environ.get("MINUTES") or 10)
    named = os.environ.get("KINDS")
    kinds = GROUPS[named] if named in GROUPS else tuple((named or "").split(","))
    if unknown := set(kinds) - set(KINDS):
        sys.exit(f"there is no {', '.join(sorted(unknown))}; KINDS are {', '.join(KINDS)}")
    print(f"SEED={seed} MINUTES={minutes:g} KINDS={','.join(kinds)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        outcome = run(
            Path(folder),
            seed=seed,
            seconds=minutes * 60,
            kinds=kinds,
            rich=True,
            say=lambda line: print(line, flush=True),
            logs=os.environ.get("LOGS"),
        )
    ledger, rows = outcome.ledger, table(outcome.rows)
    made = Counter(ledger.made.values())
    print(f"made: {', '.join(f'{count} {kind}' for kind, count in sorted(made.items()))}")
    print(f"looked at: {sum(ledger.looks.values()):,} times; deleted: {len(ledger.gone)}")
    for line in ledger.failures:
        print(f"failed: {line}")
    print(rows)
    for line in outcome.breaches:
        print(f"BREACH: {line}")
    if page := os.environ.get("TABLE"):
        text = Path(page).read_text()
        told = f"{BEGIN}\nSeed {seed}, {minutes:g} minutes.\n\n{rows}\n{END}"
        Path(page).write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: told, text, flags=re.DOTALL))
    sys.exit(1 if outcome.breaches else 0)


if __name__ == "__main__":
    main()
