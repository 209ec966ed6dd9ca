"""The folder a recipe leaves: what is written is read, and what is broken is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from shared.recipes import artifact
from shared.recipes.artifact import Artifact
from shared.recipes.contract import ArtifactError
from tests.recipes.synthetic import histories_of

SEQUENCES = {
    "": [("x", 1)],
    "anna": [("x", 1), ("y", 2)],
    "ann": [("y", 7)],
    "émile": [("z", 3), ("x", 4)],
    "zoë": [("x", 5)],
    "語": [("y", 6)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / artifact.WEIGHTS).write_bytes(b"weights")
    artifact.write(
        tmp_path,
        histories_of(SEQUENCES),
        recipe="aws-hrnn",
        parameters={"bptt": "32"},
        popularity=np.array([0.5, 0.3, 0.2]),
        report={"metrics": {"coverage": 0.5}},
    )
    return tmp_path


def test_it_works(folder: Path) -> None:
    opened = Artifact.open(folder, ("aws-hrnn",))
    assert opened.item_ids == ["x", "y", "z"]
    assert opened.parameters == {"bptt": "32"}
    np.testing.assert_allclose(opened.popularity, [0.5, 0.3, 0.2])
    for user_id, events in SEQUENCES.items():
        assert opened.history(user_id) == events
    model = orjson.loads((folder / "model.json").read_bytes())
    assert model["metrics"] == {"coverage": 0.5}


@pytest.mark.parametrize("user_id", ["a", "annas", "zz", "zo", "emile", "\0"])
def test_an_unknown_user_has_no_history(folder: Path, user_id: str) -> None:
    assert Artifact.open(folder, ("aws-hrnn",)).history(user_id) == []


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "popularity.npy", "histories/items.npy", "histories/user_ids.bin"],
)
def test_a_file_cut_short_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=f"{name} has .* bytes instead of .* the model is incomplete"):
        Artifact.open(folder, ("aws-hrnn",))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "histories" / "offsets.npy").unlink()
    with pytest.raises(ArtifactError, match=r"histories/offsets\.npy is missing"):
        Artifact.open(folder, ("aws-hrnn",))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 99}'])
def test_a_broken_description_is_named(folder: Path, text: bytes) -> None:
    (folder / "model.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        Artifact.open(folder, ("aws-hrnn",))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.json cannot be read"):
        Artifact.open(tmp_path, ("aws-hrnn",))


def test_another_recipes_model_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="holds a model of aws-hrnn, not of aws-sims"):
        Artifact.open(folder, ("aws-sims",))


def test_bytes_that_are_no_array_are_refused(folder: Path) -> None:
    path = folder / "histories" / "items.npy"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ArtifactError, match="is damaged"):
        Artifact.open(folder, ("aws-hrnn",))
