"""A runtime's records, data and models, and batch inference jobs that are done in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from shared.recipes import Recipe
from shared.resources import ResourceReader
from shared.serving.model_cache import ModelCache
from shared.settings import Settings
from shared.storage.artifacts import Artifacts
from tests.unit.services.runtime_world import PREFIX, Echo, Runtime
from workers.inference import batch_inference_job, batch_run
from workers.inference.batch_run import BatchJob

JOB = f"{PREFIX}:batch-inference-job/j"


@dataclass
class BatchWorld:
    """``bucket`` is s3://bucket; the jobs read s3://bucket/in/ and write s3://bucket/out/."""

    folder: Path
    runtime: Runtime
    settings: Settings
    progress: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def bucket(self) -> Path:
        return self.folder / "s3" / "bucket"

    def give(self, name: str, *queries: Any) -> None:
        """Write an input file of these queries; bytes are lines as they are."""
        lines = [each if isinstance(each, bytes) else orjson.dumps(each) for each in queries]
        (self.bucket / "in" / name).write_bytes(b"".join(line + b"\n" for line in lines))

    def job(self, *, should_stop: Callable[[], bool] = lambda: False, name: str = "j", **body: Any) -> BatchJob:
        members = {
            "solutionVersionArn": f"{PREFIX}:solution/s/1",
            "numResults": 25,
            "jobInput": {"s3DataSource": {"path": "s3://bucket/in/"}},
            "jobOutput": {"s3DataDestination": {"path": "s3://bucket/out/"}},
            **body,
        }
        arn = f"{PREFIX}:batch-inference-job/{name}"
        if self.runtime.store.get(arn) is None:
            self.runtime.put(arn, "batch_inference_job", "CREATE IN_PROGRESS", **members)
        record = self.runtime.store.get(arn)
        assert record is not None
        return BatchJob(
            record=replace(record, body=members),
            settings=self.settings,
            store=self.runtime.store,
            reader=ResourceReader(self.runtime.store, self.settings),
            artifacts=Artifacts(self.folder / "artifacts"),
            should_stop=should_stop,
        )

    def run(self, recipe: Recipe, job: BatchJob | None = None, scorer: Echo | None = None, **body: Any) -> Any:
        """Do a job with a model of this recipe, and return its remarks."""
        model = self.runtime.model(recipe, scorer)
        with patch.object(ModelCache, "load_model", return_value=model):
            outcome = batch_run.run_batch_job(
                job or self.job(**body), self.progress.append, batch_inference_job.build_answerer
            )
        return outcome["remarks"]

    def results(self, name: str = "users.json") -> list[Any]:
        return [orjson.loads(line) for line in (self.bucket / "out" / f"{name}.out").read_bytes().splitlines()]

    def answered(self, recipe: Recipe, queries: Sequence[Any], **body: Any) -> list[Any]:
        """The results of these queries, without their inputs."""
        self.give("users.json", *queries)
        self.run(recipe, **body)
        return [each["output"] or each["error"] for each in self.results()]


def create_world(folder: Path, runtime: Runtime, **settings: Any) -> BatchWorld:
    made = BatchWorld(folder, runtime, Settings(data_dir=folder, import_memory_mb=256, **settings))
    (made.bucket / "in").mkdir(parents=True)
    return made
