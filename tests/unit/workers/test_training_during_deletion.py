"""A training that reads its data while users are deleted from them: it reads the data again, whole and without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from shared.recipes import RECIPES
from shared.resources.dataset_import_job import ROWS
from shared.settings import Settings
from tests.unit.workers.world import World
from workers.training.job import TrainingRun

EVENTS = """SELECT printf('u%02d', i % 40) AS USER_ID, printf('i%02d', (i * 7) % 30) AS ITEM_ID, i AS TIMESTAMP
            FROM range(2000) AS t(i) ORDER BY USER_ID, TIMESTAMP"""


def test_an_import_that_is_rewritten_in_the_middle_of_the_reading_is_read_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    imported = world.imported(world.dataset("Interactions"), rows=EVENTS)
    world.solution("aws-hrnn")
    steps = 0

    def delete_user() -> bool:
        """Rewrite the import at a step between the queries that read it."""
        nonlocal steps
        steps += 1
        if steps == 8:
            with world.artifacts.fill_replacement(imported) as folder:
                kept = f"SELECT * FROM '{world.file(imported)}' WHERE USER_ID <> 'u07'"
                duckdb.sql(kept).write_parquet(str(folder / ROWS))
            world.artifacts.swap_replacement(imported)
        return False

    store: Any = world.store
    configured = Settings(artifacts_dir=world.artifacts_root, import_memory_mb=256)
    version = world.version()
    data = TrainingRun(version, RECIPES["aws-hrnn"], store, configured, delete_user).load_data()
    assert steps > 8
    histories = data.histories
    assert histories.user_ids == [f"u{n:02d}" for n in range(40) if n != 7]
    assert len(histories.items) == histories.offsets[-1] == 39 * 50
    workspace = world.artifacts.create_workspace(version.arn)
    assert sorted(path.name for path in workspace.iterdir()) == ["data-aws-hrnn", "data-aws-hrnn.sources"]
