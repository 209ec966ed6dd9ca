"""The folder a recipe leaves: what is written is read, and what is broken is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from safetensors.numpy import save_file

from shared.data.arrays.features import Features
from shared.data.training.training_data import TrainingData
from shared.recipes import artifact
from shared.recipes.artifact import Artifact
from shared.recipes.hrnn.counters import COUNTERS, Counters
from shared.recipes.scoring_api import ArtifactError, Past
from tests.recipes.synthetic import histories_of, training_data

SEQUENCES = {
    "": [("x", 1)],
    "anna": [("x", 1), ("y", 2)],
    "ann": [("y", 7)],
    "émile": [("z", 3), ("x", 4)],
    "zoë": [("x", 5)],
    "語": [("y", 6)],
}
TYPES = [0, -1, 1, 0, 1, -1, 0, 0]  # in the order of the users: "", ann, anna ...
NAMES = ["click", "buy"]
USERS = [{"club": "red"}, {"club": "red|blue"}, {}, {"club": "blue"}, {"age": 7.0}, {"club": "red", "age": 9.0}]
CONTEXTS = [{"device": "tv"}, {"device": "phone"}, {}, {"device": "tv"}, {}, {}, {"device": "tv"}, {}]


def described() -> TrainingData:
    histories = histories_of(SEQUENCES)
    histories = replace(histories, event_types=np.array(TYPES, np.int16), event_type_names=NAMES)
    return training_data(histories, users=USERS, contexts=CONTEXTS)


def written(folder: Path, data: TrainingData) -> Path:
    (folder / artifact.WEIGHTS).write_bytes(b"weights")
    Counters.count_events(data.histories, np.arange(len(data.histories.user_ids))).save(folder / COUNTERS)
    described = artifact.ModelDescription(
        recipe="aws-hrnn",
        parameters={"bptt": "32"},
        popularity=np.array([0.5, 0.3, 0.2]),
        form={"items": 3, "hidden": 32},
        report={"metrics": {"coverage": 0.5}},
    )
    artifact.write_artifact(folder, data, described)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path, described())


def test_it_works(folder: Path) -> None:
    opened = Artifact.open(folder, ("aws-hrnn",))
    assert list(opened.item_ids) == ["x", "y", "z"]
    assert opened.parameters == {"bptt": "32"}
    assert opened.form == {"items": 3, "hidden": 32}
    assert opened.event_type_names == NAMES
    np.testing.assert_allclose(opened.popularity, [0.5, 0.3, 0.2])
    assert opened.popularity.dtype == np.float32
    types = iter(TYPES)
    for user_id in sorted(SEQUENCES):
        expected = [
            Past(item, at, NAMES[type_] if type_ >= 0 else None)
            for (item, at), type_ in zip(SEQUENCES[user_id], types, strict=False)
        ]
        assert opened.get_history(user_id) == expected
    model = orjson.loads((folder / "model.json").read_bytes())
    assert model["metrics"] == {"coverage": 0.5}
    assert model["recipe"] == "aws-hrnn"


def test_every_file_is_listed_with_its_size(folder: Path) -> None:
    files = orjson.loads((folder / "model.json").read_bytes())["files"]
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    found.pop("model.json")
    assert files == found
    assert {"model.safetensors", "popularity.npy", "users/values.npy", "contexts/columns.json"} < files.keys()


def test_what_is_known_of_users_is_kept(folder: Path) -> None:
    opened = Artifact.open(folder, ("aws-hrnn",))
    users = described().users
    assert users is not None
    for user_id, row in zip(sorted(SEQUENCES), USERS, strict=True):
        values, weights = opened.get_user_features(user_id)
        assert (values.tolist(), weights.tolist()) == users.encode(row)
    values, weights = opened.get_user_features("nobody")
    assert len(values) == len(weights) == 0


def test_a_requests_context_becomes_the_features_it_was_trained_on(folder: Path) -> None:
    opened = Artifact.open(folder, ("aws-hrnn",)).contexts
    trained_on = described().contexts
    assert opened is not None
    assert trained_on is not None
    assert len(opened.values) == 0  # nobody's past contexts are served
    for context in ({"device": "phone"}, {"device": "tv", "weather": "wet"}, {"device": "fridge"}, {}):
        assert opened.encode(context) == trained_on.encode(context)


def test_without_users_and_contexts_there_are_none(tmp_path: Path) -> None:
    opened = Artifact.open(written(tmp_path, training_data(histories_of(SEQUENCES))), ("aws-hrnn",))
    assert opened.contexts is None
    assert len(opened.get_user_features("anna")[0]) == 0
    assert opened.get_history("anna") == [Past("x", 1), Past("y", 2)]
    assert not (tmp_path / "users").exists()


def test_data_mapped_from_files_is_written_alike(tmp_path: Path) -> None:
    data = described()
    data.histories.save(tmp_path / "histories")
    assert data.users is not None
    data.users.save(tmp_path / "users")
    mapped = TrainingData(
        histories=type(data.histories).open(tmp_path / "histories"), users=Features.open(tmp_path / "users")
    )
    for name, kept in (("one", mapped), ("other", replace(data, contexts=None))):
        (tmp_path / name).mkdir()
        written(tmp_path / name, kept)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "other" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize("user_id", ["a", "annas", "zz", "zo", "emile", "\0"])
def test_an_unknown_user_has_no_history(folder: Path, user_id: str) -> None:
    assert Artifact.open(folder, ("aws-hrnn",)).get_history(user_id) == []


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "popularity.npy",
        "histories/items.npy",
        "histories/user_ids.bin",
        "users/offsets.npy",
        "contexts/columns.json",
        "counters/prior.npy",
        "counters/like_weights.npy",
    ],
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


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 99}'])
def test_a_broken_description_is_named(folder: Path, text: bytes) -> None:
    (folder / "model.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"model\.json"):
        Artifact.open(folder, ("aws-hrnn",))


@pytest.mark.parametrize("older", range(1, artifact.FORMAT))
def test_a_model_of_an_older_release_is_to_be_trained_again(folder: Path, older: int) -> None:
    model = orjson.loads((folder / "model.json").read_bytes())
    (folder / "model.json").write_bytes(orjson.dumps(model | {"format": older}))
    said = f"is not of format 3, the one this release reads, but of {older}: train a new solution version"
    with pytest.raises(ArtifactError, match=said):
        Artifact.open(folder, ("aws-hrnn",))
    (folder / "model.json").write_bytes(orjson.dumps(model | {"format": artifact.FORMAT + 1}))
    with pytest.raises(ArtifactError, match=r"is not of format 3, the one this release reads\.$"):
        Artifact.open(folder, ("aws-hrnn",))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model\.json cannot be read"):
        Artifact.open(tmp_path, ("aws-hrnn",))


def test_another_recipes_model_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="holds a model of aws-hrnn, not of aws-sims"):
        Artifact.open(folder, ("aws-sims",))


@pytest.mark.parametrize("name", ["histories/items.npy", "users/values.npy", "popularity.npy"])
def test_bytes_that_are_no_array_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ArtifactError, match="is damaged"):
        Artifact.open(folder, ("aws-hrnn",))


@pytest.mark.parametrize("name", ["histories/event_types.json", "users/columns.json", "histories/item_ids.bin"])
def test_bytes_that_are_no_text_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(ArtifactError, match="is damaged"):
        Artifact.open(folder, ("aws-hrnn",))


def test_weights_are_read_by_their_names(folder: Path) -> None:
    opened = Artifact.open(folder, ("aws-hrnn",))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        opened.load_weights("near")
    save_file({"near": np.arange(3), "far": np.zeros(2)}, folder / artifact.WEIGHTS)
    assert opened.load_weights("far", "near")["near"].tolist() == [0, 1, 2]
    with pytest.raises(ArtifactError, match=r"model\.safetensors holds far, near instead of near\."):
        opened.load_weights("near")
