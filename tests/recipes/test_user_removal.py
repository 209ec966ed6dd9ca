"""Artifacts without some users: unknown users with the answers of a model that never knew them, and the same model."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import Histories
from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter, MappedStrings
from shared.recipes.artifact import Artifact
from shared.recipes.user_removal import knows_any_user, write_without_users
from tests.recipes.test_artifact import SEQUENCES, described, written


def mapped(path: Path, users: Collection[str]) -> MappedStrings:
    with ArrayFileWriter(path) as writer:
        writer.add_strings("users", [sorted(users)])
    return ArrayFile.open(path).get_strings("users")


@pytest.mark.parametrize(
    "gone", [{"ann"}, {"anna", "語", "stranger"}, {"", "zoë"}, {*SEQUENCES, *(f"stranger {n}" for n in range(9))}]
)
def test_the_users_are_unknown_and_all_others_as_they_were(tmp_path: Path, gone: set[str]) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    written(source, described())
    users = mapped(tmp_path / "users", gone)
    assert knows_any_user(source, users)
    write_without_users(source, target, users)
    assert not knows_any_user(target, users)
    before, after = Artifact.open(source, ("aws-hrnn",)), Artifact.open(target, ("aws-hrnn",))
    for user in SEQUENCES:
        assert after.get_history(user) == ([] if user in gone else before.get_history(user))
        features = [[], []] if user in gone else [each.tolist() for each in before.get_user_features(user)]
        assert [each.tolist() for each in after.get_user_features(user)] == features
    assert after.parameters == before.parameters
    np.testing.assert_array_equal(after.popularity, before.popularity)
    kept = Histories.open(target / "histories")
    assert kept.user_ids == sorted(set(SEQUENCES) - gone)
    assert len(kept.items) == kept.offsets[-1] == sum(len(SEQUENCES[user]) for user in kept.user_ids)
    assert len(kept.in_training) == len(kept.user_ids)


def test_no_file_holds_the_id_any_more(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    written(source, described())
    assert [path.name for path in source.rglob("*") if path.is_file() and "émile".encode() in path.read_bytes()]
    write_without_users(source, target, mapped(tmp_path / "users", {"émile"}))
    assert not [path for path in target.rglob("*") if path.is_file() and "émile".encode() in path.read_bytes()]
    assert {path.relative_to(target) for path in target.rglob("*")} == {
        path.relative_to(source) for path in source.rglob("*")
    }


def test_strangers_are_known_by_none(tmp_path: Path) -> None:
    written(tmp_path, described())
    assert not knows_any_user(tmp_path, mapped(tmp_path / "deleted", {"stranger"}))
