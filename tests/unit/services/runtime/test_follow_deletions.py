"""A runtime reads its models and snapshots again after users were deleted, and reports it then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.recipes import RECIPES
from shared.recipes.artifact import ModelDescription, write_artifact
from shared.recipes.user_removal import write_without_users
from shared.resources.dataset_group.purges import raise_purges
from shared.serving import snapshots
from shared.serving.snapshots import remove_older_files
from shared.storage.artifacts import Artifacts
from tests.recipes.test_artifact import described
from tests.unit.services.runtime_world import GROUP, PREFIX, Runtime

VERSION = f"{PREFIX}:solution/s/1"
NAME = "runtime@test:1"
PEOPLE = ("USER_ID string", "AGE int")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    runtime = Runtime(tmp_path)
    runtime.put(GROUP, "dataset_group", name="g")
    recipe = RECIPES["aws-popularity-count"]
    runtime.put(VERSION, "solution_version", recipeArn=recipe.arn, datasetGroupArn=GROUP)
    with runtime.artifacts.fill_artifact(VERSION, 1) as folder:
        model = ModelDescription(recipe=recipe.name, parameters={}, popularity=np.array([0.5, 0.3, 0.2]))
        write_artifact(folder, described(), model)
    runtime.put(f"{PREFIX}:campaign/c", "campaign", solutionVersionArn=VERSION)
    return runtime


def delete_user(runtime: Runtime, artifacts: Artifacts, user: str = "anna") -> None:
    """What a data deletion job does to a model."""
    path = artifacts.create_workspace("job") / "ids"
    with ArrayFileWriter(path) as writer:
        writer.add_strings("ids", [[user]])
    users = ArrayFile.open(path).get_strings("ids")
    with artifacts.fill_replacement(VERSION) as folder:
        write_without_users(artifacts.get_folder(VERSION), folder, users)
    artifacts.swap_replacement(VERSION)


def test_models_are_replaced_and_the_deletion_is_reported(runtime: Runtime) -> None:
    model = runtime.deployed.load_model(VERSION)
    assert len(model.get_history("anna")) == 2
    runtime.refresh()
    assert runtime.store.get_reported_purges(NAME) == {}
    delete_user(runtime, runtime.artifacts)
    runtime.refresh()
    assert runtime.deployed.get_model(VERSION) is model
    raise_purges(GROUP, runtime.store)
    runtime.refresh()
    fresh = runtime.deployed.get_model(VERSION)
    assert fresh is not None
    assert (fresh.get_history("anna"), len(fresh.get_history("ann"))) == ([], 1)
    assert runtime.store.get_reported_purges(NAME) == {GROUP: 1}
    runtime.refresh()
    assert runtime.deployed.get_model(VERSION) is fresh


def test_a_model_that_can_not_be_read_again_answers_on_and_nothing_is_reported(runtime: Runtime) -> None:
    model = runtime.deployed.load_model(VERSION)
    raise_purges(GROUP, runtime.store)
    (runtime.artifacts.get_folder(VERSION) / "popularity.npy").unlink()
    runtime.refresh()
    assert runtime.deployed.get_model(VERSION) is model
    assert runtime.store.get_reported_purges(NAME) == {}


def test_an_artifact_that_is_swapped_while_it_is_opened_is_opened_again(
    tmp_path: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap: list[Callable[[], None]] = [lambda: delete_user(runtime, Artifacts(tmp_path / "artifacts"))]
    opened = runtime.artifacts.open_artifact

    def open_and_swap(arn: str) -> Path:
        folder = opened(arn)
        while swap:
            swap.pop()()
        return folder

    monkeypatch.setattr(runtime.artifacts, "open_artifact", open_and_swap)
    model = runtime.deployed.load_model(VERSION)
    assert not swap
    assert (model.get_history("anna"), len(model.get_history("ann"))) == ([], 1)


def test_snapshots_are_made_again_at_once_and_the_old_files_can_go(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "PACE", 1e9)
    users = runtime.dataset("Users", *PEOPLE)
    first = runtime.imported(users, PEOPLE, [("anna", 7), ("ann", 8)])
    cache = runtime.filters._snapshots
    before = cache.open_rows(users)
    assert before is not None
    assert before.find_row("anna") is not None
    with runtime.artifacts.fill_replacement(first) as folder:
        rows = runtime.artifacts.get_folder(first) / "rows.parquet"
        duckdb.sql(f"SELECT * FROM '{rows}' WHERE USER_ID <> 'anna'").write_parquet(str(folder / "rows.parquet"))
    runtime.artifacts.swap_replacement(first)
    raise_purges(GROUP, runtime.store)
    raised = time.time()
    runtime.refresh()
    after = cache.open_rows(users)
    assert after is not None
    assert (after.find_row("anna"), after.find_row("ann")) == (None, 0)
    assert runtime.store.get_reported_purges(NAME) == {GROUP: 1}
    workspace = runtime.artifacts.create_workspace(users)
    (workspace / "snapshot-older").write_bytes(b"anna")
    os.utime(workspace / "snapshot-older", (raised - 60, raised - 60))
    remove_older_files(workspace, raised)
    [kept] = workspace.iterdir()
    assert kept.name.startswith("snapshot-")


def test_a_snapshot_of_data_from_before_a_deletion_never_appears(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = runtime.dataset("Users", *PEOPLE)
    runtime.imported(users, PEOPLE, [("anna", 7)])
    cache = runtime.filters._snapshots
    made: list[str] = []
    write = cache._write_rows

    def write_and_purge(target: Path, state: snapshots.DatasetState, database: snapshots.DuckDBSession) -> None:
        made.append(state.name)
        write(target, state, database)
        if len(made) == 1:
            raise_purges(GROUP, runtime.store)

    monkeypatch.setattr(cache, "_write_rows", write_and_purge)
    assert cache.open_rows(users) is not None
    assert len(set(made)) == 2
    assert [path.name for path in runtime.artifacts.create_workspace(users).iterdir()] == [f"snapshot-{made[1]}"]
