"""A runtime's records and data, and batch segment jobs done in this process, with a scorer without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from shared.recipes import RECIPES
from shared.recipes.scoring_api import Past
from shared.resources import ResourceReader
from shared.serving.model_cache import ModelCache
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS
from shared.storage.artifacts import Artifacts
from shared.store import Record
from tests.unit.services.runtime_world import GROUP, PREFIX, Runtime
from tests.unit.shared.data import parquet_files
from tests.unit.shared.serving.segment_world import LastItemScorer
from workers.inference import batch_run, batch_segment_job
from workers.inference.batch_run import BatchJob

BY_ITEM, BY_ATTRIBUTES = RECIPES["aws-item-affinity"], RECIPES["aws-item-attribute-affinity"]
VERSION = f"{PREFIX}:solution/s/1"
INTERACTIONS = (*parquet_files.INTERACTIONS, "EVENT_TYPE string")
ITEMS = ("ITEM_ID string", "GENRE string categorical", "YEAR int")
USERS = ("USER_ID string", "AGE int", "COUNTRY string categorical")


@dataclass
class SegmentWorld:
    """Users ann (last x), bob (last y) and cat (last z) are trained on, with items w, x, y and z."""

    folder: Path
    runtime: Runtime
    settings: Settings
    first_import: str
    progress: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def bucket(self) -> Path:
        return self.folder / "s3" / "bucket"

    def build_scorer(self) -> LastItemScorer:
        return LastItemScorer(
            "wxyz",
            {"ann": [Past("w", 1, "view"), Past("x", 2, "view")], "bob": [Past("y", 2, "view")], "cat": [Past("z", 3)]},
        )

    def give(self, name: str, *queries: Any) -> None:
        """Write an input file of these queries; bytes are lines as they are."""
        lines = [each if isinstance(each, bytes) else orjson.dumps(each) for each in queries]
        (self.bucket / "in" / name).write_bytes(b"".join(line + b"\n" for line in lines))

    def job(self, *, should_stop: Callable[[], bool] = lambda: False, name: str = "j", **body: Any) -> BatchJob:
        """The job of this name, created at the first call."""
        members = {
            "solutionVersionArn": VERSION,
            "numResults": 25,
            "jobInput": {"s3DataSource": {"path": "s3://bucket/in/"}},
            "jobOutput": {"s3DataDestination": {"path": "s3://bucket/out/"}},
            **body,
        }
        arn = f"{PREFIX}:batch-segment-job/{name}"
        if self.runtime.store.get(arn) is None:
            self.runtime.put(arn, "batch_segment_job", CREATE_IN_PROGRESS, VERSION, **members)
        record = self.runtime.store.get(arn)
        assert record is not None
        return BatchJob(
            record=record,
            settings=self.settings,
            store=self.runtime.store,
            reader=ResourceReader(self.runtime.store, self.settings),
            artifacts=Artifacts(self.folder / "artifacts", on_block=should_stop),
            should_stop=should_stop,
        )

    def run(self, job: BatchJob, recipe: Any = BY_ITEM, scorer: LastItemScorer | None = None) -> Mapping[str, Any]:
        """Do a job, and return its remarks."""
        model = self.runtime.model(recipe, scorer or self.build_scorer())  # type: ignore[arg-type]
        with patch.object(ModelCache, "load_model", return_value=model):
            build = partial(batch_segment_job.build_answerer, progress=self.progress.append)
            outcome = batch_run.run_batch_job(job, self.progress.append, build)
        remarks: Mapping[str, Any] = outcome["remarks"]
        return remarks

    def results(self, name: str = "items.json") -> list[Any]:
        return [orjson.loads(line) for line in (self.bucket / "out" / f"{name}.out").read_bytes().splitlines()]

    def answer(self, *queries: Any, recipe: Any = BY_ITEM, **body: Any) -> list[Any]:
        """The users, or the error, of each of these lines."""
        self.give("items.json", *queries)
        self.run(self.job(**body), recipe)
        return [each["error"] or each["output"]["usersList"] for each in self.results()]


def create_world(folder: Path, **settings: Any) -> SegmentWorld:
    runtime = Runtime(folder)
    interactions = runtime.dataset("Interactions", *INTERACTIONS)
    rows = [("ann", "w", 1, "View"), ("ann", "x", 2, "View"), ("bob", "y", 2, "Buy"), ("cat", "z", 3, "View")]
    job = runtime.imported(interactions, INTERACTIONS, rows)
    runtime.filled(
        "Items", ITEMS, [("w", "Drama", 1999), ("x", "Drama|War", 1999), ("y", "Comedy", 2001), ("v", "War", 1)]
    )
    runtime.filled("Users", USERS, [("ann", 20, "usa"), ("bob", 30, "usa|fr"), ("dan", 40, "fr")])
    runtime.put(VERSION.rpartition("/")[0], "solution", ACTIVE, GROUP, datasetGroupArn=GROUP)
    put_version(runtime, [job])
    made = SegmentWorld(folder, runtime, Settings(data_dir=folder, import_memory_mb=256, **settings), job)
    (made.bucket / "in").mkdir(parents=True)
    return made


def put_version(runtime: Runtime, imports: list[str], **body: Any) -> None:
    """Put the version that was trained on these imports."""
    standing = runtime.store.get(VERSION)
    if standing is not None:
        runtime.store.remove(standing)
    record = Record(
        arn=VERSION,
        kind="solution_version",
        status=ACTIVE,
        created=1.0,
        updated=1.0,
        body={"datasetGroupArn": GROUP, "recipeArn": BY_ITEM.arn, **body},
        state={"imports": {"INTERACTIONS": imports}},
        parents=(GROUP,),
    )
    runtime.store.create(record, invocation=f"{VERSION} {body}")
