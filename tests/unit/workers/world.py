"""A dataset group whose records lie in a store and whose imports lie on the disk, with nothing running."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from shared.data.schemas import DATASET_TYPES
from shared.recipes import RECIPES
from shared.resources import ResourceReader
from shared.resources.dataset_import_job import ROWS
from shared.resources.solution_version.requests import build_draft
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS
from shared.storage.artifacts import Artifacts
from shared.store import Record, Store
from shared.store.memory import MemoryStore
from workers.training.sources import SourceFinder

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"
SOLUTION = f"{PREFIX}:solution/s"
ROW = "SELECT 'u' AS USER_ID, 'i' AS ITEM_ID, 1 AS TIMESTAMP"
SCHEMAS: Mapping[str, list[tuple[str, Any]]] = {
    "Interactions": [
        ("USER_ID", "string"),
        ("ITEM_ID", "string"),
        ("TIMESTAMP", "long"),
        ("DEVICE", ["null", "string"]),
    ],
    "Items": [("ITEM_ID", "string"), ("PRICE", "float")],
    "Users": [("USER_ID", "string"), ("AGE", "int")],
}
OF_ACTIONS: Mapping[str, list[tuple[str, Any]]] = {
    "ActionInteractions": [
        ("USER_ID", "string"),
        ("ACTION_ID", "string"),
        ("EVENT_TYPE", "string"),
        ("TIMESTAMP", "long"),
    ],
    "Actions": [("ACTION_ID", "string"), ("PRICE", "float"), ("REPEAT_FREQUENCY", ["null", "long"])],
}


class World:
    """Its only solution is of aws-hrnn-coldstart until ``solution`` makes another one of it."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.reading = ResourceReader(self.store, Settings())
        self.artifacts_root = folder / "artifacts"
        self.artifacts = Artifacts(self.artifacts_root)
        self.workspace = folder / "work"
        self.workspace.mkdir()
        self._imports = 0
        self.put(GROUP, "dataset_group", {"name": "g"})
        self.solution()

    def put(self, arn: str, kind: str, body: Mapping[str, Any], status: str = ACTIVE, **more: Any) -> Record:
        at = float(self._imports)
        record = Record(arn=arn, kind=kind, status=status, created=at, updated=at, body=body, **more)
        self.store.create(record, invocation=str(uuid.uuid4()))
        return record

    def solution(self, recipe: str = "aws-hrnn-coldstart", **more: Any) -> None:
        standing = self.store.get(SOLUTION)
        if standing is not None:
            self.store.remove(standing)
        body = {"name": "s", "datasetGroupArn": GROUP, "recipeArn": RECIPES[recipe].arn, **more}
        self.put(SOLUTION, "solution", body, parents=(GROUP,))

    def dataset(self, table: str) -> str:
        fields = [{"name": name, "type": type_} for name, type_ in {**SCHEMAS, **OF_ACTIONS}[table]]
        schema = f"{PREFIX}:schema/{table}"
        text = json.dumps({"type": "record", "name": table, "fields": fields})
        self.put(schema, "schema", {"schema": text, "domain": None})
        dataset_type = DATASET_TYPES[table]
        arn = f"{PREFIX}:dataset/g/{dataset_type}"
        body = {"schemaArn": schema, "datasetType": dataset_type, "datasetGroupArn": GROUP}
        self.put(arn, "dataset", body, parents=(GROUP,))
        return arn

    def imported(self, dataset: str, mode: str = "FULL", rows: str = ROW) -> str:
        """The ARN of an import job that has brought the rows of a SELECT."""
        self._imports += 1
        arn = f"{PREFIX}:dataset-import-job/{self._imports}"
        self.put(arn, "dataset_import_job", {"importMode": mode}, parents=(dataset,))
        with self.artifacts.fill_artifact(arn, 1) as folder:
            duckdb.sql(rows).write_parquet(str(folder / ROWS))
        return arn

    def version(self, mode: str = "FULL", **state: Any) -> Record:
        """A new version of the solution, in training."""
        drafted = build_draft({"solutionArn": SOLUTION}, self.reading)
        return self.put(
            drafted.arn,
            "solution_version",
            {**drafted.body, "trainingMode": mode},
            CREATE_IN_PROGRESS,
            state={**drafted.state, **state},
            parents=drafted.parents,
        )

    def finding(self, version: Record, on_step: Any = lambda: None) -> SourceFinder:
        recipe = RECIPES[version.body["recipeArn"].rpartition("/")[2]]
        return SourceFinder(version, recipe, self.reading, self.store, self.artifacts, self.workspace, on_step)

    def file(self, job: str) -> Path:
        return self.artifacts.get_folder(job) / ROWS
