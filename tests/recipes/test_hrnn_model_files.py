"""A model's files: damaged ones are refused, with the reason."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn.counters import COUNTERS
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.scoring_api import ArtifactError
from tests.recipes.scorers import make_data, write_model


def test_weights_that_are_damaged_or_of_another_form_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", make_data())
    size = (folder / WEIGHTS).stat().st_size
    good = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(folder)
    (folder / WEIGHTS).write_bytes(good[: size // 2])
    with pytest.raises(ArtifactError, match="the model is incomplete"):
        Scorer.load(folder)
    (folder / WEIGHTS).write_bytes(good)
    description = (folder / "model.json").read_text()
    for said, other in (('"hidden":32', '"hidden":48'), ('"hidden":32', '"depth":32')):
        (folder / "model.json").write_text(description.replace(said, other))
        with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
            Scorer.load(folder)
    (folder / "model.json").write_text(description)
    assert Scorer.load(folder).item_ids


def test_what_was_counted_must_be_whole(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", make_data())
    for path in sorted((folder / COUNTERS).iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(ArtifactError, match=rf"{path.name} has .* bytes instead of .* the model is incomplete"):
            Scorer.load(folder)
        path.write_bytes(bytes(len(whole)))
        with pytest.raises(ArtifactError, match="counters cannot be read"):
            Scorer.load(folder)
        path.unlink()
        with pytest.raises(ArtifactError, match=rf"{path.name} is missing"):
            Scorer.load(folder)
        path.write_bytes(whole)
    assert Scorer.load(folder).item_ids
    other = write_model(tmp_path / "other", make_data(repeats=False))
    (folder / COUNTERS / "like_offsets.npy").write_bytes((other / COUNTERS / "last_offsets.npy").read_bytes())
    with pytest.raises(ArtifactError, match="counters cannot be read"):
        Scorer.load(folder)


@pytest.mark.parametrize("weights", [(1.0,), (1.0,) * 40, (1.0,) * 8])
def test_a_blend_of_another_number_of_weights_is_refused(tmp_path: Path, weights: tuple[float, ...]) -> None:
    folder = write_model(tmp_path / "model", make_data())
    model = orjson.loads((folder / "model.json").read_bytes())
    model["form"]["leaning"] = weights
    (folder / "model.json").write_bytes(orjson.dumps(model))
    with pytest.raises(ArtifactError, match="cannot be read"):
        Scorer.load(folder)
