"""What the tests of operations stand on: names nobody else uses, and resources that are ready."""

from __future__ import annotations

import csv
import json
import random
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conftest import System, until

INTERACTIONS = {
    "type": "record",
    "name": "Interactions",
    "namespace": "com.amazonaws.personalize.schema",
    "fields": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ITEM_ID", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "DEVICE_KIND", "type": ["null", "string"]},
    ],
    "version": "1.0",
}
HRNN = "arn:aws:personalize:::recipe/aws-hrnn"
POPULARITY = "arn:aws:personalize:::recipe/aws-popularity-count"
METADATA = "arn:aws:personalize:::recipe/aws-hrnn-metadata"
COLDSTART = "arn:aws:personalize:::recipe/aws-hrnn-coldstart"
ROLE = "arn:aws:iam::000000000000:role/personalize"
#: Of a solution whose width is not what is tried.
SMALL = {"algorithmHyperParameters": {"hidden_dimension": "32"}}


@contextmanager
def refused(code: str, message: str = "") -> Iterator[None]:
    """The block must be refused with AWS's error of this name and a message in which the pattern is found."""
    with pytest.raises(ClientError) as refusal:
        yield
    error = refusal.value.response["Error"]
    assert error["Code"] == code, error
    assert re.search(message, error["Message"]), error


@dataclass
class Maker:
    """Makes resources through the API and waits until they are usable."""

    client: Any
    folder: Path

    def name(self) -> str:
        return f"t{uuid.uuid4().hex[:12]}"

    def settled(self, operation: str, member: str, arn: str, seconds: float = 180.0) -> dict[str, Any]:
        """What Describe answers once the resource is no longer moving."""
        describe: Callable[..., dict[str, Any]] = getattr(self.client, f"describe_{operation}")

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = describe(**{f"{member}Arn": arn})[member]
            done = found["status"] in ("ACTIVE", "INACTIVE", "CREATE FAILED", "CREATE STOPPED")
            return found if done else None

        return until(look, seconds, arn)

    def gone(self, operation: str, member: str, arn: str, seconds: float = 20.0) -> None:
        describe = getattr(self.client, f"describe_{operation}")

        def look() -> bool:
            try:
                describe(**{f"{member}Arn": arn})
            except self.client.exceptions.ResourceNotFoundException:
                return True
            return False

        until(look, seconds, f"the end of {arn}")

    def schema(self, document: dict[str, Any] | None = None, **more: str) -> str:
        text = json.dumps(document or INTERACTIONS)
        return str(self.client.create_schema(name=self.name(), schema=text, **more)["schemaArn"])

    def group(self, **more: str) -> str:
        arn = str(self.client.create_dataset_group(name=self.name(), **more)["datasetGroupArn"])
        self.settled("dataset_group", "datasetGroup", arn)
        return arn

    def dataset(self, group: str | None = None, schema: str | None = None, dataset_type: str = "Interactions") -> str:
        created = self.client.create_dataset(
            name=self.name(),
            schemaArn=schema or self.schema(),
            datasetGroupArn=group or self.group(),
            datasetType=dataset_type,
        )
        arn = str(created["datasetArn"])
        self.settled("dataset", "dataset", arn)
        return arn

    def bucket(self) -> str:
        bucket = f"bucket-{self.name()}"
        (self.folder / "s3" / bucket).mkdir(parents=True)
        return bucket

    def csv(
        self, rows: int = 1200, users: int = 40, items: int = 20, header: str = "", start: int = 1_600_000_000
    ) -> str:
        """The location of a CSV with interactions: everybody goes round the items in one order."""
        bucket = self.bucket()
        rng = random.Random(7)
        with (self.folder / "s3" / bucket / "interactions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((header or "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE_KIND").split(","))
            first = [rng.randrange(items) for _ in range(users)]
            for number in range(rows):
                user, step = number % users, number // users
                item = (first[user] + step) % items
                kind = "tv" if item % 2 else ""
                writer.writerow((f"u{user}", f"i{item}", start + step * 600 + user, "watch", kind))
        return f"s3://{bucket}/interactions.csv"

    def file(self, header: str, rows: Iterable[Sequence[Any]]) -> str:
        """The location of a CSV with these rows; None is an empty cell."""
        bucket = self.bucket()
        with (self.folder / "s3" / bucket / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header.split(","))
            writer.writerows(rows)
        return f"s3://{bucket}/rows.csv"

    def filled(
        self,
        group: str,
        table: str,
        fields: Sequence[dict[str, Any]],
        rows: Iterable[Sequence[Any]],
        dataset_type: str | None = None,
    ) -> None:
        """A dataset of the group with these columns and rows; ``table`` is the schema's name, and mostly the type."""
        schema = self.schema({**INTERACTIONS, "name": table, "fields": list(fields)})
        dataset = self.dataset(group, schema, dataset_type or table)
        job = self.imported(dataset, self.file(",".join(field["name"] for field in fields), rows))
        assert job["status"] == "ACTIVE", job

    def started_import(self, dataset: str, location: str, **more: Any) -> str:
        created = self.client.create_dataset_import_job(
            jobName=self.name(), datasetArn=dataset, dataSource={"dataLocation": location}, roleArn=ROLE, **more
        )
        return str(created["datasetImportJobArn"])

    def imported(self, dataset: str, location: str, **more: Any) -> dict[str, Any]:
        return self.settled("dataset_import_job", "datasetImportJob", self.started_import(dataset, location, **more))

    def solution(self, group: str | None = None, recipe: str = HRNN, **more: Any) -> str:
        arn = self.client.create_solution(
            name=self.name(), datasetGroupArn=group or self.group(), recipeArn=recipe, **more
        )["solutionArn"]
        self.settled("solution", "solution", arn)
        return str(arn)

    def trained(self, solution: str, seconds: float = 600.0) -> dict[str, Any]:
        """A new version, ended: well or with a failureReason."""
        version = self.client.create_solution_version(solutionArn=solution)["solutionVersionArn"]
        return self.settled("solution_version", "solutionVersion", version, seconds)

    def deployed(self, solution: str) -> str:
        """A campaign with a new version of the solution."""
        version = self.trained(solution)
        assert version["status"] == "ACTIVE", version.get("failureReason")
        campaign = str(
            self.client.create_campaign(name=self.name(), solutionVersionArn=version["solutionVersionArn"])[
                "campaignArn"
            ]
        )
        described = self.settled("campaign", "campaign", campaign)
        assert described["status"] == "ACTIVE", described
        return campaign

    def tracker(self, group: str) -> tuple[str, str]:
        created = self.client.create_event_tracker(name=self.name(), datasetGroupArn=group)
        self.settled("event_tracker", "eventTracker", created["eventTrackerArn"])
        return created["eventTrackerArn"], created["trackingId"]


def column(name: str, type_: str | list[str] = "string", **attributes: bool) -> dict[str, Any]:
    """A field of an Avro schema."""
    return {"name": name, "type": type_, **attributes}


def recommended(system: System, campaign: str, user: str, count: int = 25, **more: Any) -> list[str]:
    listed = system.runtime.get_recommendations(campaignArn=campaign, userId=user, numResults=count, **more)
    return [item["itemId"] for item in listed["itemList"]]


@pytest.fixture(scope="session")
def personalize(system: System) -> Any:
    return system.personalize


@pytest.fixture(scope="session")
def make(system: System, personalize: Any) -> Maker:
    return Maker(personalize, system.folder)


@dataclass(frozen=True)
class Life:
    """A small recommender that stands, made once and only read by the tests."""

    group: str
    dataset: str
    solution: str
    version: str
    campaign: str
    tracking_id: str


@pytest.fixture(scope="session")
def life(make: Maker) -> Life:
    group = make.group()
    dataset = make.dataset(group)
    job = make.imported(dataset, make.csv())
    assert job["status"] == "ACTIVE", job
    solution = make.solution(group)
    version = make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"]
    trained = make.settled("solution_version", "solutionVersion", version, 120)
    assert trained["status"] == "ACTIVE", trained
    campaign = make.client.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
    deployed = make.settled("campaign", "campaign", campaign)
    assert deployed["status"] == "ACTIVE", deployed
    _, tracking_id = make.tracker(group)
    return Life(group, dataset, solution, version, campaign, tracking_id)
