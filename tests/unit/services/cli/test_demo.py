"""``foretaste demo``, from the first process to the last line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import until

FORETASTE = str(Path(sys.executable).with_name("foretaste"))


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    (folder / "tmp").mkdir()
    return subprocess.Popen(
        [FORETASTE, "demo", *arguments],
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a shell starts in the background has SIGINT ignored, and so have its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_it_works(tmp_path: Path, few_films: Path) -> None:
    with demo(tmp_path, "--data", str(few_films), "--exit-when-done") as process:
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    for word in (
        "1,800 rows of s3://films-demo/interactions.csv",
        "NDCG@25 unseen",
        "popularity",
        "recommended",
        "before",
    ):
        assert word in output
    assert len(re.findall(r"^User \d+$", output, re.MULTILINE)) == 3
    assert re.search(r"PutEvents \d+ ms, GetRecommendations with the events in it \d+ ms", output)
    assert re.search(r"^export AWS_ENDPOINT_URL_PERSONALIZE=http://127\.0\.0\.1:\d+$", output, re.MULTILINE)
    titles = [line.split(",")[1] for line in (few_films / "items.csv").read_text().splitlines()[1:]]
    assert sum(title in output for title in titles) > 20
    assert "\x1b" not in output
    assert list((tmp_path / "tmp").glob("foretaste-*")) == []


def test_ctrl_c_ends_it_in_the_middle(tmp_path: Path, few_films: Path) -> None:
    kept = tmp_path / "kept"
    with demo(tmp_path, "--data", str(few_films), "--data-dir", str(kept)) as process:
        until(lambda: (kept / "artifacts").exists(), 60, "the import to begin")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0, output
    assert "stopped before the end" in output
    assert "Traceback" not in output
