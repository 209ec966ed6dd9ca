"""A campaign whose model nobody has trained: made-up weights and histories, and the records around them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES, artifact
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.serving.numpy_network import get_weight_shapes
from shared.resources.event_tracker.requests import build_tracking_claim
from shared.state.lifecycle import ACTIVE
from shared.storage.artifacts import Artifacts
from shared.store import Record, Store

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
RECIPE = RECIPES["aws-hrnn"]
USERS = 200
EVENTS = 100
"""Of each user."""
HIDDEN = 128
SCHEMA = """{"type": "record", "name": "Interactions", "namespace": "com.amazonaws.personalize.schema", "fields": [
{"name": "USER_ID", "type": "string"}, {"name": "ITEM_ID", "type": "string"}, {"name": "TIMESTAMP", "type": "long"},
{"name": "EVENT_TYPE", "type": "string"}], "version": "1.0"}"""


@dataclass(frozen=True)
class Campaign:
    """What answers, and whom and what it knows."""

    arn: str
    tracking_id: str
    dataset: str
    items: int
    model: Path

    def user(self, number: int) -> str:
        return f"u{number % USERS:06}"

    def item(self, number: int) -> str:
        return f"i{number % self.items:08}"


def campaign(store: Store, artifacts: Artifacts, items: int) -> Campaign:
    """With so many items, of a dataset group of its own."""
    name = f"made-up-{items}"
    group, version = f"{PREFIX}:dataset-group/{name}", f"{PREFIX}:solution/{name}/1"
    schema, dataset = f"{PREFIX}:schema/{name}", f"{PREFIX}:dataset/{name}/INTERACTIONS"

    def put(arn: str, kind: str, *parents: str, claims: tuple[str, ...] = (), **body: Any) -> None:
        at = time.time()
        record = Record(
            arn=arn, kind=kind, status=ACTIVE, created=at, updated=at, body=body, parents=parents, claims=claims
        )
        store.create(record, invocation=arn)

    put(schema, "schema", schema=SCHEMA, domain=None)
    put(dataset, "dataset", group, schemaArn=schema, datasetType="INTERACTIONS", datasetGroupArn=group)
    tracker = f"{PREFIX}:event-tracker/{name}"
    put(tracker, "event_tracker", group, claims=(build_tracking_claim(name),), datasetGroupArn=group, trackingId=name)
    with artifacts.fill_artifact(version, 1) as folder:
        _write(folder, items)
    put(version, "solution_version", recipeArn=RECIPE.arn, datasetGroupArn=group)
    arn = f"{PREFIX}:campaign/{name}"
    put(arn, "campaign", solutionVersionArn=version, campaignConfig=None)
    return Campaign(arn, name, dataset, items, artifacts.get_folder(version))


def _write(folder: Path, items: int) -> None:
    rng = np.random.default_rng(0)
    form = HrnnConfig(items=items, hidden=HIDDEN)
    weights = {
        name: rng.standard_normal(shape, np.float32) * np.float32(0.05)
        for name, shape in get_weight_shapes(form).items()
    }
    save_file(weights, folder / artifact.WEIGHTS)
    gaps = rng.integers(1, 100_000, (USERS, EVENTS))
    histories = Histories(
        user_ids=[f"u{user:06}" for user in range(USERS)],
        item_ids=[f"i{item:08}" for item in range(items)],
        offsets=np.arange(USERS + 1) * EVENTS,
        items=rng.integers(0, items, USERS * EVENTS).astype(np.int32),
        timestamps=(1_600_000_000 + gaps.cumsum(1)).ravel(),
        event_types=np.full(USERS * EVENTS, -1, np.int16),
        event_type_names=[],
        in_training=np.ones(USERS, np.bool_),
    )
    described = artifact.ModelDescription(
        recipe=RECIPE.name, parameters={}, popularity=np.full(items, 1 / items), form=asdict(form)
    )
    artifact.write_artifact(folder, TrainingData(histories=histories), described)
