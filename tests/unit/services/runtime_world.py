"""A runtime without a network: campaigns and recommenders that one scorer answers for, and data as imports leave it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.runtime import app, refresher
from services.runtime.warm_up import WarmUp
from shared.data.schemas import DATASET_TYPES
from shared.http.app import Call
from shared.recipes import Recipe
from shared.recipes.distribution import NEVER
from shared.recipes.scoring_api import ExplainedScores, Past, Query
from shared.resources.dataset.requests import TYPES
from shared.resources.dataset_import_job import ROWS
from shared.serving.model_cache import LoadedModel
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE
from shared.storage.artifacts import Artifacts
from shared.store import Interaction, Record
from shared.store.memory import MemoryStore
from tests.strict import STRICT
from tests.unit.shared.data import parquet_files

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"


def event(item: str | None, at: float, event_type: str = "Watch", user: str = "u") -> Interaction:
    return Interaction(user_id=user, session_id="s", item_id=item, event_type=event_type, event_value=None, sent_at=at)


class Echo:
    """Three items, of which the one that is asked about is never shown. It tells what it was asked."""

    def __init__(self, item_ids: Sequence[str] = ("a", "b", "c"), scores: Sequence[float] = (0.2, 0.5, 0.3)) -> None:
        self.item_ids = list(item_ids)
        self.asked: list[Query] = []
        self._scores = scores
        self.unexplored: Sequence[float] | None = None

    def history(self, user_id: str) -> list[Past]:
        return [Past("a", 1.0)] if user_id == "known" else []

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        self.asked.append(query)
        scores = np.resize(np.array(self._scores, np.float32), len(self.item_ids))
        if query.item_id in self.item_ids:
            scores[self.item_ids.index(query.item_id)] = NEVER
        return scores / scores[scores >= 0].sum()

    def explained(self, query: Query) -> ExplainedScores:
        """A stranger is shown what is popular; with ``unexplored``, what is answered was explored."""
        scores = self.scores(query)
        unexplored = scores if self.unexplored is None else np.array(self.unexplored, np.float32)
        return ExplainedScores(scores, unexplored, popular=query.user_id == "stranger")


class Runtime:
    """A campaign for each recipe of its own, and a recommender for each use case: all answered by ``scorer``."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.artifacts = Artifacts(folder / "artifacts")
        self.serving_ = app.create_context(Settings(import_memory_mb=256), self.store, self.artifacts)
        self.deployed = self.serving_.models
        self.filters = self.serving_.filters
        # A machine that has much else to do takes longer than a request would wait.
        self.filters.patience = 60.0
        self.preparing = WarmUp(self.deployed, self.filters, STRICT)
        self.scorer = Echo()
        self._folder = folder
        self._numbers = itertools.count(1)

    def put(self, arn: str, kind: str, status: str = ACTIVE, *parents: str, **body: Any) -> str:
        at = time.time()
        record = Record(arn=arn, kind=kind, status=status, created=at, updated=at, body=body, parents=parents)
        return self.store.create(record, invocation=f"{arn} {at}")

    def serving(self, recipe: Recipe, status: str = ACTIVE, scorer: Echo | None = None, **config: Any) -> str:
        """The ARN of a new campaign or recommender with this configuration."""
        noun, name = "recommender" if recipe.domain else "campaign", f"{recipe.name}-{next(self._numbers)}"
        arn, version = f"{PREFIX}:{noun}/{name}", f"{PREFIX}:version/{name}"
        body = {"recipeArn": recipe.arn, "solutionVersionArn": version, f"{noun}Config": config or None}
        self.put(arn, noun, status, **body)
        self.deployed._models[version] = self.model(recipe, scorer)
        return arn

    def refresh(self) -> None:
        """What the refresher does every two seconds."""
        refresher.refresh_data(self.serving_, self.preparing, self.store, "runtime@test:1")

    def model(self, recipe: Recipe, scorer: Echo | None = None) -> LoadedModel:
        datasets = {dataset_type: dataset(dataset_type) for dataset_type in TYPES}
        return LoadedModel(scorer or self.scorer, recipe, GROUP, datasets)  # type: ignore[arg-type]

    def dataset(self, table: str, *fields: str) -> str:
        """A dataset of the group; ``table`` is the name of its schema, ``fields`` are as in ``parquet_files``."""
        schema = f"{PREFIX}:schema/{table}{next(self._numbers)}"
        self.put(schema, "schema", schema=parquet_files.schema(table, *fields), domain=None)
        dataset_type = DATASET_TYPES[table]
        body = {"schemaArn": schema, "datasetType": dataset_type, "datasetGroupArn": GROUP}
        return self.put(dataset(dataset_type), "dataset", ACTIVE, GROUP, **body)

    def imported(self, dataset_arn: str, fields: Sequence[str], rows: list[tuple[Any, ...]], mode: str = "FULL") -> str:
        """The ARN of an import job that has brought these rows."""
        arn = f"{PREFIX}:dataset-import-job/{next(self._numbers)}"
        self.put(arn, "dataset_import_job", ACTIVE, dataset_arn, importMode=mode)
        with self.artifacts.fill_artifact(arn, 1) as folder:
            columns = {field.split()[0]: parquet_files.TYPES[field.split()[1]] for field in fields}
            parquet_files.parquet(folder / ROWS, columns, rows)
        return arn

    def filled(self, table: str, fields: Sequence[str], rows: list[tuple[Any, ...]]) -> str:
        """The ARN of a dataset with these rows."""
        arn = self.dataset(table, *fields)
        self.imported(arn, fields, rows)
        return arn

    def filter(self, expression: str, status: str = ACTIVE, group: str = GROUP, name: str = "") -> str:
        arn = f"{PREFIX}:filter/{name or next(self._numbers)}"
        return self.put(arn, "filter", status, group, datasetGroupArn=group, filterExpression=expression)

    def sent(self, *events: Interaction, dataset_type: str = "INTERACTIONS") -> None:
        self.store.append_interactions(dataset(dataset_type), events, invocation=str(next(self._numbers)))

    def asked(self, operation: str, **request: Any) -> Any:
        call = Call(operation=operation, request=request, request_id="1", invocation="1")
        return app.create_handlers(self.serving_)[operation](call)

    def answered(self, arn: str, **request: Any) -> list[Any]:
        """The rows of GetRecommendations."""
        member = "recommenderArn" if ":recommender/" in arn else "campaignArn"
        listed: list[Any] = self.asked("GetRecommendations", **{member: arn}, **request)["itemList"]
        return listed

    def recommended(self, arn: str, **request: Any) -> str:
        """Their ids, of one letter each."""
        return "".join(row["itemId"] for row in self.answered(arn, **request))

    def ranked(self, arn: str, items: str, **request: Any) -> str:
        whole = {"campaignArn": arn, "userId": "u", "inputList": list(items), **request}
        answer = self.asked("GetPersonalizedRanking", **whole)
        return "".join(row["itemId"] for row in answer["personalizedRanking"])


def dataset(dataset_type: str) -> str:
    return f"{PREFIX}:dataset/g/{dataset_type}"
