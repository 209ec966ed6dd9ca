"""A recommender's whole life through plain boto3, from the first schema to the last deletion, on real interactions."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import System, start_system, stop_system, until
from tests.operations.conftest import HRNN, ROLE, Maker

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Interactions",
    "namespace": "com.amazonaws.personalize.schema",
    "fields": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ITEM_ID", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "EVENT_VALUE", "type": ["null", "float"]},
    ],
    "version": "1.0",
}


@pytest.fixture
def fresh(tmp_path: Path) -> Any:
    running = start_system(tmp_path)
    yield running
    stop_system(running)


def test_a_whole_life_on_films(fresh: System, films: Path) -> None:
    personalize, runtime, events = fresh.personalize, fresh.runtime, fresh.events
    make = Maker(personalize, fresh.folder)
    bucket = fresh.folder / "s3" / "movies"
    bucket.mkdir(parents=True)
    shutil.copy(films / "interactions.csv", bucket)
    with (films / "interactions.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    # The made-up films are watched, not rated.
    threshold = {"eventValueThreshold": "2"} if "EVENT_VALUE" in first else {}
    schema_text = json.dumps({**SCHEMA, "fields": [f for f in SCHEMA["fields"] if f["name"] in first]})

    schema = personalize.create_schema(name="movies", schema=schema_text)["schemaArn"]
    tags = [{"tagKey": "team", "tagValue": "films"}]
    group = personalize.create_dataset_group(name="movies", tags=tags)["datasetGroupArn"]
    make.settled("dataset_group", "datasetGroup", group)
    dataset = personalize.create_dataset(
        name="movies", schemaArn=schema, datasetGroupArn=group, datasetType="Interactions"
    )["datasetArn"]
    make.settled("dataset", "dataset", dataset)
    job = personalize.create_dataset_import_job(
        jobName="movies",
        datasetArn=dataset,
        dataSource={"dataLocation": "s3://movies/interactions.csv"},
        roleArn=ROLE,
        importMode="FULL",
    )["datasetImportJobArn"]
    assert make.settled("dataset_import_job", "datasetImportJob", job)["status"] == "ACTIVE"
    solution = personalize.create_solution(
        name="movies",
        datasetGroupArn=group,
        recipeArn=HRNN,
        performAutoTraining=False,
        eventType=first["EVENT_TYPE"],
        solutionConfig={
            **threshold,
            "algorithmHyperParameters": {"hidden_dimension": "32"},
        },
    )["solutionArn"]
    version = personalize.create_solution_version(solutionArn=solution, trainingMode="FULL")["solutionVersionArn"]
    assert make.settled("solution_version", "solutionVersion", version, 180)["status"] == "ACTIVE"

    answer = personalize.get_solution_metrics(solutionVersionArn=version)
    baseline = json.loads(answer["ResponseMetadata"]["HTTPHeaders"]["x-foretaste-baseline"])
    key = "normalized_discounted_cumulative_gain_at_25"
    assert answer["metrics"][key] >= 1.8 * baseline[key]

    campaign = personalize.create_campaign(
        name="movies", solutionVersionArn=version, minProvisionedTPS=1, campaignConfig={}
    )["campaignArn"]
    assert make.settled("campaign", "campaign", campaign)["status"] == "ACTIVE"
    tracker = personalize.create_event_tracker(name="movies", datasetGroupArn=group)
    make.settled("event_tracker", "eventTracker", tracker["eventTrackerArn"])

    def recommended(user: str) -> list[str]:
        listed = runtime.get_recommendations(campaignArn=campaign, userId=user, numResults=25)["itemList"]
        return [item["itemId"] for item in listed]

    before = recommended("693")
    assert len(before) == 25
    assert before != recommended("nobody")
    for item in ("1", "100", "151"):
        events.put_events(
            trackingId=tracker["trackingId"],
            userId="693",
            sessionId="evening",
            eventList=[{"eventType": first["EVENT_TYPE"], "eventValue": 5, "itemId": item, "sentAt": time.time()}],
        )
    assert recommended("693") != before

    personalize.delete_campaign(campaignArn=campaign)
    make.gone("campaign", "campaign", campaign)
    personalize.delete_solution(solutionArn=solution)
    make.gone("solution", "solution", solution)
    make.gone("solution_version", "solutionVersion", version)
    personalize.delete_event_tracker(eventTrackerArn=tracker["eventTrackerArn"])
    make.gone("event_tracker", "eventTracker", tracker["eventTrackerArn"])
    personalize.delete_dataset(datasetArn=dataset)
    make.gone("dataset", "dataset", dataset)
    personalize.delete_schema(schemaArn=schema)
    personalize.delete_dataset_group(datasetGroupArn=group)
    make.gone("dataset_group", "datasetGroup", group)
    until(lambda: not any((fresh.folder / "artifacts" / "kept").iterdir()), 10, "the files to go")
    assert not any((fresh.folder / "artifacts" / "work").iterdir())
    assert not any((fresh.folder / "artifacts" / "drafts").iterdir())
