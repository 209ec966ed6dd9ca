"""A dataset group and what stands under it, in a store in memory, and the API's own handlers over it.

For what needs no process: a request is checked, carried out and answered as the API service does it, without HTTP.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.api.app import build_handlers
from services.api.context import ApiContext
from services.status import transitions as status
from shared.aws import request_schemas, serialization, service_model
from shared.aws.errors import PersonalizeError
from shared.http.app import Answer, Call
from shared.jobs.worker_process import WorkerProcess
from shared.recipes import RECIPES, Recipe
from shared.resources import ResourceReader
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE
from shared.state.messages import Command, Provision
from shared.storage.artifacts import Artifacts
from shared.store import Record
from shared.store.memory import MemoryStore

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"
INTERACTIONS = f"{PREFIX}:dataset/g/INTERACTIONS"

HRNN = RECIPES["aws-hrnn"]
#: Made up, so that each flag of a recipe is tried apart from what the recipes of this release happen to have.
MADE_UP: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        replace(
            HRNN,
            name="aws-explorer",
            training=replace(HRNN.training, modes=("FULL", "UPDATE")),
            serving=replace(HRNN.serving, explores=True),
        ),
        replace(HRNN, name="aws-with-objective", training=replace(HRNN.training, takes_objective=True)),
        replace(
            HRNN,
            name="aws-with-events",
            training=replace(HRNN.training, takes_events_config=True),
            hyperparameters=(),
        ),
        replace(HRNN, name="aws-segments", recipe_type="USER_SEGMENTATION"),
        replace(HRNN, name="aws-use-case", domain="ECOMMERCE"),
        replace(HRNN, name="aws-semantic-similarity", recipe_type="RELATED_ITEMS"),
    )
}


def arn_of(recipe: str) -> str:
    return f"arn:aws:personalize:::recipe/{recipe}"


@contextmanager
def refused(error: type[PersonalizeError], message: str) -> Iterator[None]:
    with pytest.raises(error) as refusal:
        yield
    assert re.search(message, refusal.value.message), refusal.value.message


class Rung:
    """Stands where the queue stands, and keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Command] = []

    def send(self, message: Command) -> None:
        self.messages.append(message)

    def count_waiting(self, queue: str) -> int:
        return sum(message.get_queue_name() == queue for message in self.messages)


class Standing:
    """Each record is as old as the number of those before it, unless ``at`` says when it was made."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.reading = ResourceReader(self.store, Settings())
        self.queue: Any = Rung()
        self.context = ApiContext(self.store, self.queue, self.reading)
        self.process = WorkerProcess(
            name="status@test:1",
            settings=Settings(auto_training=True),
            store=self.store,
            queue=self.queue,
            artifacts=Artifacts(Path("/nowhere")),
            ending=threading.Event(),
        )
        self._count = 0
        self.put(GROUP, "dataset_group", {"name": "g"})

    def put(
        self,
        arn: str,
        kind: str,
        body: Mapping[str, Any],
        *,
        status: str | None = ACTIVE,
        at: float | None = None,
        **more: Any,
    ) -> Record:
        self._count += 1
        created = float(self._count) if at is None else at
        record = Record(arn=arn, kind=kind, status=status, created=created, updated=created, body=body, **more)
        self.store.create(record, invocation=str(uuid.uuid4()))
        return self.get(arn)

    def get(self, arn: str) -> Record:
        record = self.store.get(arn)
        assert record is not None
        return record

    def change(self, arn: str, **fields: Any) -> Record:
        self.store.replace(replace(self.get(arn), **fields))
        return self.get(arn)

    def ask(self, operation: str, **request: Any) -> dict[str, Any]:
        """The answer to a request. Raises the error that the client would be given."""
        declared = service_model.load_operations("personalize")[operation]
        loaded = request_schemas.load_request(declared, request)
        call = Call(operation=operation, request=loaded, request_id="1", invocation=str(uuid.uuid4()))
        answer = build_handlers(self.context)[operation](call)
        members = answer.members if isinstance(answer, Answer) else answer
        answered: dict[str, Any] = json.loads(serialization.serialize_answer(declared, members or {}) or "{}")
        return answered

    def heard(self) -> list[Command]:
        """The commands that were sent, carried out where the status service is to do it."""
        sent = list(self.queue.messages)
        self.queue.messages.clear()
        for command in sent:
            if isinstance(command, Provision):
                status.provision_resource(self.store, command)
        return sent

    def dataset(self, table: str, fields: Sequence[Mapping[str, Any]]) -> str:
        schema = f"{PREFIX}:schema/{table}"
        text = json.dumps({"type": "record", "name": table, "fields": list(fields)})
        self.put(schema, "schema", {"schema": text}, status=None)
        arn = f"{PREFIX}:dataset/g/{table.upper()}"
        self.put(arn, "dataset", {"schemaArn": schema, "datasetType": table.upper()}, parents=(GROUP, schema))
        return arn

    def imported(self, number: int = 1, mode: str = "FULL", *, at: float | None = None, status: str = ACTIVE) -> str:
        arn = f"{PREFIX}:dataset-import-job/{number}"
        self.put(arn, "dataset_import_job", {"importMode": mode}, status=status, at=at, parents=(INTERACTIONS,))
        return arn

    def solution(self, recipe: str | None = "aws-hrnn", name: str = "s", **more: Any) -> str:
        arn = f"{PREFIX}:solution/{name}"
        body = {"name": name, "datasetGroupArn": GROUP, **({"recipeArn": arn_of(recipe)} if recipe else {}), **more}
        self.put(arn, "solution", body, parents=(GROUP,))
        return arn

    def version(
        self,
        solution: str,
        number: int = 1,
        *,
        status: str = ACTIVE,
        mode: str = "FULL",
        at: float | None = None,
        trained_on: Sequence[str] = (),
    ) -> str:
        arn = f"{solution}/{number:08x}"
        body = {
            **self.get(solution).body,
            "name": arn.partition(":solution/")[2],
            "solutionArn": solution,
            "trainingMode": mode,
            "trainingType": "MANUAL",
        }
        state = {"imports": {"INTERACTIONS": list(trained_on)}}
        self.put(arn, "solution_version", body, status=status, at=at, state=state, parents=(solution, GROUP))
        return arn

    def campaign(self, version: str, name: str = "c", status: str = ACTIVE, **body: Any) -> str:
        arn = f"{PREFIX}:campaign/{name}"
        content = {"name": name, "solutionVersionArn": version, "minProvisionedTPS": 1, **body}
        self.put(arn, "campaign", content, status=status, parents=(version.rpartition("/")[0], version))
        return arn
