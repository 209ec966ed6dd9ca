"""What is started on our leash: our own modules, wherever we were started and whether or not we are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.system import parent_death
from tests.conftest import ROOT

#: In a process that knows our packages by its path alone, the path of ``shared`` in a child of it.
PROGRAM = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from shared.system.parent_death import with_our_packages, module_with_parent_death_signal
command = module_with_parent_death_signal("inspect", "--details", "shared")
subprocess.run(command, env=with_our_packages(os.environ), check=True)
"""


@pytest.mark.parametrize("path", [None, "", "elsewhere", f":{os.sep}nowhere"])
def test_a_child_finds_our_packages_and_nobody_elses(tmp_path: Path, path: str | None) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("raise SystemExit('somebody else is here')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = path
    said = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"Origin: {ROOT}/shared/__init__.py" in said.stdout, said.stderr


def test_what_is_installed_does_not_come_before_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent_death, "__file__", "/venv/lib/python3.11/site-packages/shared/system/parent_death.py")
    assert parent_death.with_our_packages({"PYTHONPATH": ":/mine:", "A": "b"}) == {"PYTHONPATH": "/mine", "A": "b"}
    assert parent_death.with_our_packages({}) == {"PYTHONPATH": ""}
