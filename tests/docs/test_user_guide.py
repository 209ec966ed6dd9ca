"""The user guide names commands, options, settings and messages that exist."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from services.cli.main import cli
from shared.settings import Settings
from tests.conftest import ROOT
from tests.docs.pages import read_blocks

GUIDE = sorted((ROOT / "docs" / "user").glob("*.md"))
SETTINGS = {f"FORETASTE_{field.name.upper()}" for field in dataclasses.fields(Settings)}
#: A code span, with one backtick on each side or two.
SPAN = re.compile(r"``(.+?)``|`([^`\n]+)`")


def label_page(page: Path) -> str:
    return page.name


def find_spans(text: str) -> Iterator[str]:
    for double, single in SPAN.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        yield (double or single).strip()


def find_commands(page: Path) -> Iterator[list[str]]:
    """The words of every ``foretaste`` command of a page, in blocks of shell and in code spans."""
    lines = [line for block in read_blocks(page) if block.language == "sh" for line in block.source.splitlines()]
    # A span with a gap is a message, and not to be typed.
    typed = (line for line in [*lines, *find_spans(page.read_text())] if "…" not in line)
    for line in typed:
        words = shlex.split(line, comments=True) if line.startswith(("foretaste ", ".venv/bin/foretaste ")) else []
        if len(words) > 1:
            yield words


@pytest.mark.parametrize("page", GUIDE, ids=label_page)
def test_every_command_and_its_options_exist(page: Path) -> None:
    for _, verb, *rest in find_commands(page):
        assert verb in cli.commands, f"{page.name} names foretaste {verb}"
        known = {option for parameter in cli.commands[verb].params for option in parameter.opts}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page.name} names foretaste {verb} {word}"


def test_the_guide_shows_the_commands_that_operators_use() -> None:
    shown = {verb for page in GUIDE for _, verb, *_ in find_commands(page)}
    assert {"up", "doctor", "status", "backup", "import", "train", "recommend"} <= shown <= set(cli.commands)


def test_the_options_of_up_are_listed() -> None:
    text = (ROOT / "docs" / "user" / "operate.md").read_text()
    for parameter in cli.commands["up"].params:
        assert isinstance(parameter, click.Option)
        assert parameter.opts[0] in text


@pytest.mark.parametrize("page", GUIDE, ids=label_page)
def test_every_setting_exists(page: Path) -> None:
    for setting in re.findall(r"FORETASTE_[A-Z0-9_]+\*?", page.read_text()):
        family = setting.removesuffix("*")
        assert setting in SETTINGS or (setting.endswith("*") and any(one.startswith(family) for one in SETTINGS)), (
            setting
        )


def collect_texts() -> set[str]:
    """Every string of the code, with "…" in the place of each value."""
    found: set[str] = set()
    for folder in ("services", "workers", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                    found.add("".join(map(str, parts)))
    return found


def read_symptoms() -> list[str]:
    """The messages and names in the first column of the troubleshooting tables."""
    section = (ROOT / "docs" / "user" / "operate.md").read_text().partition("\n## Troubleshooting\n")[2]
    rows = re.findall(r"^\| (.*?) \| .* \| .* \|$", section, re.MULTILINE)
    return [span for row in rows for span in find_spans(row)]


SYMPTOMS = read_symptoms()


@pytest.fixture(scope="module")
def code_texts() -> set[str]:
    return collect_texts()


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_every_symptom_is_in_the_words_of_the_code(code_texts: set[str], symptom: str) -> None:
    pattern = re.compile(".*".join(re.escape(part) for part in re.split(r" ?… ?", symptom)), re.DOTALL)
    assert any(pattern.search(text) for text in code_texts), symptom


def test_there_are_symptoms_of_each_kind() -> None:
    assert len(SYMPTOMS) > 35
    assert all(re.search(r"\w{4}", symptom) for symptom in SYMPTOMS)
