"""`foretaste up` elsewhere than here: in the folder of somebody else's project, on a system that is not Linux."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.data import demo_catalogue
from tests.conftest import ROOT, System, start_system, stop_system

FORETASTE = str(Path(sys.executable).with_name("foretaste"))

#: What Linux alone has of the modules that we use, as far as Python 3.11 offers it.
LINUX_ALONE = {
    "os": """
        copy_file_range eventfd eventfd_read eventfd_write fdatasync getrandom memfd_create pidfd_open pipe2
        posix_fadvise posix_fallocate sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity
        sched_setparam sched_setscheduler setns splice unshare O_DIRECT O_NOATIME O_PATH O_TMPFILE""",
    "select": "epoll",
    "signal": "sigtimedwait sigwaitinfo",
    "socket": "SO_DOMAIN SO_PEERCRED SO_PROTOCOL SOCK_CLOEXEC SOCK_NONBLOCK TCP_KEEPIDLE TCP_USER_TIMEOUT",
    "resource": "prlimit",
    "mmap": "MAP_POPULATE MADV_DONTFORK MADV_HUGEPAGE MADV_REMOVE",
}

#: Runs at the start of each Python process: a system without all that, and without /proc and /sys.
WITHOUT = f"""
import importlib, sys
for module, names in {LINUX_ALONE!r}.items():
    for name in names.split():
        vars(importlib.import_module(module)).pop(name, None)

def refuse(event, arguments):
    if event == "open" and str(arguments[0]).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(arguments[0])

sys.addaudithook(refuse)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages that are called like ours, and with data."""
    folder = tmp_path_factory.mktemp("project")
    for package in ("shared", "services", "workers"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("raise SystemExit('somebody else is here')\n")
    demo_catalogue.write_demo_data(folder / "films")
    (folder / "linux-is-elsewhere").mkdir()
    (folder / "linux-is-elsewhere" / "sitecustomize.py").write_text(WITHOUT)
    return folder


@pytest.fixture(scope="module")
def elsewhere(project: Path) -> Iterator[System]:
    """Paths are relative to the project, wherever the processes run."""
    path = os.pathsep.join(["linux-is-elsewhere", os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {"FORETASTE_ARTIFACTS_DIR": "models", "PYTHONPATH": path}
    running = start_system(project / "data", "--bucket", "films=films", cwd=project, **environment)
    yield running
    stop_system(running)


def test_it_starts_imports_and_trains(project: Path, elsewhere: System) -> None:
    for command in (
        ["import", "films", "--bucket", "films"],
        ["train", "--recipe", "aws-popularity-count", "--no-deploy"],
    ):
        done = subprocess.run(
            [FORETASTE, *command, "--name", "films", "--data-dir", "data"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + elsewhere.log("importing") + elsewhere.log("training")
    assert any((project / "models").iterdir())
    assert "times in a row" not in "".join(elsewhere.output)


def modules() -> list[Path]:
    return [path for package in ("services", "shared", "workers") for path in (ROOT / package).rglob("*.py")]


def test_no_module_takes_for_granted_what_linux_alone_has() -> None:
    """Each is asked for by getattr or hasattr, or in a place that says so."""
    bare = {(module, name) for module, names in LINUX_ALONE.items() for name in names.split()}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value.id}.{node.attr}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in bare
    ]
    # The one place that asks for the cores, and asks first whether it can.
    assert [place.split(":")[0] for place in found] == ["shared/system/cpu_quota.py"], found


def test_no_module_needs_proc() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/proc")
    ]
    # The one that opens files by their descriptors, where it finds them there, and copies them where not.
    assert found == ["shared/storage/folder_buckets.py"]


def test_every_child_is_started_where_no_stranger_is_taken_for_ours() -> None:
    """By ``module_with_parent_death_signal``, or by the supervisor in our own folder."""
    found = [
        str(path.relative_to(ROOT))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable"
    ]
    assert sorted(set(found)) == ["services/cli/local/system.py", "shared/system/parent_death.py"]
