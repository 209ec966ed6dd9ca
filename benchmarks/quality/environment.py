"""``python -m benchmarks.quality.environment``: makes .venv-peers, where ALS, RecTools and RecBole live.

They pin older versions of numpy and setuptools than foretaste has, so they never share its environment; what is
measured there comes back as files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.quality.data import ROOT

FOLDER = ROOT / ".venv-peers"
PYTHON = FOLDER / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("peers-requirements.txt")
_STAMP = FOLDER / ".set-up"


def made() -> Path:
    """The environment's Python; installs it first where that has not been done, or for other versions."""
    wanted = REQUIREMENTS.read_text()
    if not _STAMP.exists() or _STAMP.read_text() != wanted:
        print(f"installing the peers into {FOLDER}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
        _pip(torch)
        # The constraint holds while the peers' own source packages are built, too.
        constraint = FOLDER / "constraints.txt"
        constraint.write_text("".join(f"{line}\n" for line in wanted.splitlines() if "[" not in line))
        _pip("--requirement", str(REQUIREMENTS), PIP_CONSTRAINT=str(constraint))
        _STAMP.write_text(wanted)
    return PYTHON


def run(module: str, arguments: Sequence[str], *, threads: int) -> None:
    """Runs a module of the benchmark there; raises RuntimeError with the end of what it said on its error channel."""
    number = str(threads)
    environment = {**os.environ, "OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number}
    done = subprocess.run(
        [str(made()), "-m", module, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def _pip(*what: str, **environment: str) -> None:
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *what], check=True, env={**os.environ, **environment})


if __name__ == "__main__":
    print(made())
