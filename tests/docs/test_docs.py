"""The docs say what the code does, or the suite fails."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from shared import recipes, settings
from shared.aws import service_model
from shared.state import messages
from tools.docs import generate, remarks, traced

ROOT = Path(__file__).parents[2]
SERVICES = (*service_model.SERVICES, service_model.OWN_SERVICE)
WORDS = (ROOT / "docs" / "dev" / "glossary.md").read_text()


def test_the_generated_pages_are_current() -> None:
    assert generate.find_outdated_pages() == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_is_listed(service: str) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for operation in service_model.load_operations(service):
        assert f"| {operation} |" in page


OPERATIONS = [name for service in SERVICES for name in sorted(service_model.load_operations(service))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_leads_to_its_function_its_test_and_its_rules(name: str) -> None:
    [row] = re.findall(rf"^\| {name} \| (.*) \|$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    answered_by, tested_in, rules, _ = row.split(" | ", 3)
    named, [file, *_] = answered_by.partition(" in ")[0], re.findall(r"`([^`]+)`", answered_by)
    assert f"def {named}(" in (ROOT / file).read_text()
    assert re.findall(r"`(tests/[^`]+)`", tested_in), f"nothing in {', '.join(traced.TESTS)} asks {name}"
    assert {number for number in rules.split(", ") if number} <= traced.SUBJECTS.keys()
    assert rules


def test_every_rule_that_an_operation_could_keep_is_kept_by_one() -> None:
    assert {number for name in OPERATIONS for number in traced.find_rules(name)} == traced.SUBJECTS.keys()


def test_every_remark_is_about_an_operation() -> None:
    known = {name for service in SERVICES for name in service_model.load_operations(service)}
    assert set(remarks.REMARKS) <= known


@pytest.mark.parametrize("remark", [remark for each in remarks.REMARKS.values() for remark in each])
def test_every_remark_is_confirmed_by_a_test(remark: remarks.Remark) -> None:
    path, _, name = remark.confirmed_by.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{remark.confirmed_by} is no test"


def test_every_recipe_and_hyperparameter_is_listed() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text()
    for recipe in recipes.RECIPES.values():
        assert f"## {recipe.name}\n" in page
        for parameter in recipe.hyperparameters:
            assert f"| {parameter.name} |" in page


def test_every_setting_and_message_is_listed() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for field in dataclasses.fields(settings.Settings):
        assert f"`FORETASTE_{field.name.upper()}`" in page
    traffic = (ROOT / "docs" / "messages.md").read_text()
    for wire in messages.BY_WIRE:
        assert f"`{wire}`" in traffic


@pytest.mark.parametrize("word", ["command", "fact", "record", "lease", "attempt", "reconciler", "artifact", "outbox"])
def test_the_glossary_has_the_words_of_the_house(word: str) -> None:
    assert re.search(rf"^\*\*{word}", WORDS, re.MULTILINE | re.IGNORECASE)


def test_every_file_that_the_docs_name_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for path in re.findall(r"`((?:services|workers|shared|tests|benchmarks|docs)/[\w/.]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_no_status_is_spelt_outside_the_lifecycle() -> None:
    """The words of AWS's statuses stand in shared/state/lifecycle.py alone."""
    from shared.state import lifecycle

    statuses = [value for name, value in vars(lifecycle).items() if name.isupper() and isinstance(value, str) and value]
    pattern = re.compile("|".join(f"[\"']{re.escape(status)}[\"']" for status in statuses))
    for folder in ("services", "workers", "shared", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".lua") and path != ROOT / "shared" / "state" / "lifecycle.py":
                assert not pattern.search(path.read_text()), path
