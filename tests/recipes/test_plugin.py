"""Recipes outside the tree: the stable names, and the recipe that the README writes with them alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.recipes import plugin

ROOT = Path(__file__).parents[2]
README = ROOT / "shared/recipes/README.md"

TRIAL = """
import importlib, json, sys
from pathlib import Path
from shared.recipes import find_recipe
from shared.recipes.plugin import Query
from tests.recipes.runs import make_context
from tests.recipes.synthetic import histories_of, training_data

recipe = find_recipe("arn:aws:personalize:::recipe/newest-items")
training, scoring = (importlib.import_module(f"{recipe.module}.{name}") for name in ("training", "scoring"))
users = {f"u{n}": [("old", 10), ("rare", 20 + n), ("new", 30 + n)] for n in range(20)}
data, folder = training_data(histories_of(users)), Path(sys.argv[1])
trained = training.train(data, recipe, recipe.resolve_parameters(None), make_context(folder, artifact=folder))
tried = training.validate(data, recipe, recipe.resolve_parameters(None), make_context(folder))
scorer = scoring.Scorer.load(folder)
print(json.dumps({
    "scores": dict(zip(scorer.item_ids, scorer.scores(Query(now=0.0)).tolist())),
    "history": scorer.history("u3"),
    "metrics": trained.metrics,
    "tried": tried.metrics,
}))
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, **environment}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_every_stable_name_is_there_and_named_in_the_readme() -> None:
    documented = README.read_text().split("| for | stable names |")[1].split("\n\n")[0]
    assert {*re.findall(r"`(\w+)`", documented)} == {*plugin.__all__}
    assert all(getattr(plugin, name) is not None for name in plugin.__all__)


def test_another_name_is_refused_with_those_on_offer() -> None:
    with pytest.raises(AttributeError, match="has no Networks: it offers WEIGHTS, Artifact"):
        plugin.Networks  # noqa: B018


def test_a_declaration_may_import_the_stable_names_without_arrays() -> None:
    loaded = "import sys, shared.recipes.plugin; print([m for m in ('torch', 'numpy', 'duckdb') if m in sys.modules])"
    assert run(loaded).strip() == "[]"


def test_the_recipe_of_the_readme_is_trained_and_answers(tmp_path: Path) -> None:
    files = re.findall(r"`(newest_items/\w+\.py)`:\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert [name for name, _ in files] == [f"newest_items/{name}.py" for name in ("__init__", "training", "scoring")]
    (tmp_path / "newest_items").mkdir()
    for name, text in files:
        assert {*re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE)} <= {"numpy", "shared.recipes.plugin"}
        (tmp_path / name).write_text(text)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    (tmp_path / "artifact").mkdir()
    said = run(TRIAL, str(tmp_path / "artifact"), FORETASTE_RECIPES="newest_items", PYTHONPATH=path)
    found: dict[str, Any] = json.loads(said)
    assert sorted(found["scores"], key=found["scores"].get) == ["old", "rare", "new"]
    assert found["history"] == [["old", 10, None], ["rare", 23, None], ["new", 33, None]]
    assert found["metrics"]["coverage"] == found["tried"]["coverage"] == 1.0
    assert found["metrics"]["normalized_discounted_cumulative_gain_at_25"] > 0.9
