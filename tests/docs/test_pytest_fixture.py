"""Runs the fixture and the test that the page on testing shows, as the suite of another project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import read_blocks

PAGE = ROOT / "docs" / "user" / "test-against-foretaste.md"


@pytest.mark.nightly
def test_the_fixture_and_the_test_of_the_page_pass_together(tmp_path: Path) -> None:
    for block in read_blocks(PAGE):
        if named := re.match(r"# (\w+\.py)\n", block.source):
            (tmp_path / named[1]).write_text(block.source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conftest.py", "test_shop.py"]
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTEST_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**own, "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
