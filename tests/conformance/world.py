"""The resources that valid requests name: made once, through boto3, on a system of these tests' own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import redis

from tests.conformance.wire import OPERATIONS, Wire
from tests.conftest import System, until
from tests.operations.conftest import INTERACTIONS, ROLE, Maker, column

POPULARITY = "arn:aws:personalize:::recipe/aws-popularity-count"
RANKING = "arn:aws:personalize:::recipe/aws-personalized-ranking"
SEGMENTS = "arn:aws:personalize:::recipe/aws-item-affinity"
ACTIONS = "arn:aws:personalize:::recipe/aws-next-best-action"
USE_CASE = "arn:aws:personalize:::recipe/aws-vod-most-popular"
TABLES: Mapping[str, list[dict[str, Any]]] = {
    "Items": [column("ITEM_ID"), column("GENRES", categorical=True)],
    "Users": [column("USER_ID"), column("AGE", ["null", "int"])],
    "Actions": [column("ACTION_ID"), column("LEVEL", ["null", "string"])],
    "ActionInteractions": [column("USER_ID"), column("ACTION_ID"), column("EVENT_TYPE"), column("TIMESTAMP", "long")],
}
METRIC = {"eventType": "watch", "metricName": "watched", "expression": "SAMPLECOUNT()"}
MOVING = ("PENDING", "IN_PROGRESS", "STOPPING")
#: Redis keys that change by themselves: signs of life, locks, the queue's own.
RESTLESS = ("beat", "invocation", "lease", "lock", "purges", "queue", "tidied")


class World:
    """``arn["campaign"]`` and so on are ready; ``fresh`` makes another one."""

    def __init__(self, system: System, wire: Wire) -> None:
        self.system, self.wire = system, wire
        self.make = Maker(system.personalize, system.folder)
        self.redis = redis.Redis.from_url(_redis_url(system))
        self.arn: dict[str, str] = {}
        self._custom()
        self._video()
        self._scratch()
        self.quiet()

    def _custom(self) -> None:
        make, arn = self.make, self.arn
        arn["dataset_group"] = make.group()
        arn["schema"] = make.schema()
        arn["dataset"] = make.dataset(arn["dataset_group"], arn["schema"])
        arn["dataset_import_job"] = make.imported(arn["dataset"], make.csv())["datasetImportJobArn"]
        arn["solution"] = self._solution(POPULARITY)
        arn["solution_version"] = self._trained(arn["solution"])
        arn["campaign"] = self._deployed(arn["solution_version"])
        arn["ranking"] = self._deployed(self._trained(self._solution(RANKING)))
        arn["segments"] = self._trained(self._solution(SEGMENTS))
        arn["event_tracker"], self.tracking_id = make.tracker(arn["dataset_group"])
        self.bucket = make.bucket()
        (self.system.folder / "s3" / self.bucket / "in.json").write_text('{"userId": "u1"}\n')
        (self.system.folder / "s3" / self.bucket / "users.csv").write_text("USER_ID\nu1\n")
        (self.system.folder / "s3" / self.bucket / "items.json").write_text('{"itemId": "i1"}\n')
        for noun in ("filter", "metric_attribution", "batch_inference_job", "batch_segment_job"):
            arn[noun] = self.fresh(noun)

    def _solution(self, recipe: str, group: str | None = None) -> str:
        small = {"algorithmHyperParameters": {"hidden_dimension": "32"}} if recipe in (RANKING, SEGMENTS) else {}
        group = group or self.arn["dataset_group"]
        return self.make.solution(group, recipe, performAutoTraining=False, solutionConfig=small)

    def _trained(self, solution: str) -> str:
        version = self.make.trained(solution)
        assert version["status"] == "ACTIVE", version
        return str(version["solutionVersionArn"])

    def _deployed(self, version: str) -> str:
        created = self.make.client.create_campaign(name=self.make.name(), solutionVersionArn=version)
        campaign = self.make.settled("campaign", "campaign", created["campaignArn"])
        assert campaign["status"] == "ACTIVE", campaign
        return str(campaign["campaignArn"])

    def _video(self) -> None:
        make = self.make
        created = make.client.create_dataset_group(name=make.name(), domain="VIDEO_ON_DEMAND")
        self.video = str(created["datasetGroupArn"])
        make.settled("dataset_group", "datasetGroup", self.video)
        dataset = make.dataset(self.video, make.schema(domain="VIDEO_ON_DEMAND"))
        assert make.imported(dataset, make.csv())["status"] == "ACTIVE"
        self.arn["recommender"] = self.fresh("recommender")

    def _scratch(self) -> None:
        """A group whose datasets may be moving while others are trained on."""
        make = self.make
        self.scratch = make.group()
        self.datasets = {
            table: make.dataset(
                self.scratch, make.schema({**INTERACTIONS, "name": table, "fields": fields}), table.replace("nI", "n_I")
            )
            for table, fields in TABLES.items()
        }
        described = make.client.describe_dataset(datasetArn=self.datasets["ActionInteractions"])["dataset"]
        self.action_tracking_id = described["trackingId"]
        rows = [
            (f"u{user}", f"a{(user + step) % 6}", ("Taken", "Viewed")[step % 2], 1_600_000_000 + step * 600)
            for user in range(30)
            for step in range(8)
        ]
        header = ",".join(field["name"] for field in TABLES["ActionInteractions"])
        make.imported(self.datasets["ActionInteractions"], make.file(header, rows))
        make.imported(self.datasets["Actions"], make.file("ACTION_ID,LEVEL", [(f"a{n}", "x") for n in range(7)]))
        self.arn["actions"] = self._deployed(self._trained(self._solution(ACTIONS, self.scratch)))
        for noun in ("dataset_export_job", "data_deletion_job"):
            self.arn[noun] = self.fresh(noun)

    def fresh(self, noun: str) -> str:
        """A new one that has come to rest. Raises AssertionError when it can't be made."""
        name = "".join(word.capitalize() for word in noun.split("_"))
        created = self.wire.send(f"Create{name}", VALID[f"Create{name}"](self))
        assert created.status == 200, str(created)
        member = name[0].lower() + name[1:]
        arn = str(created.members[f"{member}Arn"])
        self.settled(noun, arn)
        return arn

    def settled(self, noun: str, arn: str) -> Mapping[str, Any]:
        """What Describe shows once it is not moving any more."""
        name = "".join(word.capitalize() for word in noun.split("_"))
        member = name[0].lower() + name[1:]

        def look() -> Mapping[str, Any] | None:
            described: Mapping[str, Any] = self.wire.send(f"Describe{name}", {f"{member}Arn": arn}).members[member]
            updating = described.get(f"latest{name}Update", {}).get("status", "")
            words = f"{described.get('status', '')} {updating}"
            return None if any(word in words for word in MOVING) else described

        return until(look, 120, arn)

    def quiet(self) -> None:
        """Nothing moves, nothing waits to be sent."""
        until(
            lambda: not (self.redis.zcard("foretaste:moving") or self.redis.zcard("foretaste:outbox")),
            120,
            "everything to come to rest",
        )

    def snapshot(self) -> dict[bytes, bytes]:
        """Everything that Redis keeps, but for what changes by itself."""
        keys = [key for key in self.redis.scan_iter(count=1000) if key.split(b":")[1].decode() not in RESTLESS]
        pipeline = self.redis.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
        return dict(zip(keys, pipeline.execute(), strict=True))

    def output(self) -> dict[str, Any]:
        return {"s3DataDestination": {"path": f"s3://{self.bucket}/{self.make.name()}/"}}

    def input(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"


def _redis_url(system: System) -> str:
    lines = [line.split(" ", 1) for line in (system.folder / "redis" / "redis.conf").read_text().splitlines()]
    conf = dict(line for line in lines if len(line) == 2)
    return f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"


def _named(noun: str) -> Callable[[World], dict[str, Any]]:
    """A request that names one resource by its ARN, the standing one."""
    words = noun.split("_")
    member = f"{words[0]}{''.join(word.capitalize() for word in words[1:])}Arn"
    return lambda world: {member: world.arn[noun]}


def _of_a_fresh(noun: str) -> Callable[[World], dict[str, Any]]:
    words = noun.split("_")
    member = f"{words[0]}{''.join(word.capitalize() for word in words[1:])}Arn"
    return lambda world: {member: world.fresh(noun)}


def _group_with_interactions(world: World) -> str:
    group = world.make.group()
    world.make.dataset(group, world.arn["schema"])
    return group


def _batch(world: World, version: str = "solution_version", lines: str = "in.json") -> dict[str, Any]:
    return {
        "jobName": world.make.name(),
        "solutionVersionArn": world.arn[version],
        "jobInput": {"s3DataSource": {"path": world.input(lines)}},
        "jobOutput": world.output(),
        "roleArn": ROLE,
    }


def _stopped_recommender(world: World) -> dict[str, Any]:
    arn = world.fresh("recommender")
    assert world.wire.send("StopRecommender", {"recommenderArn": arn}).status == 200
    assert world.settled("recommender", arn)["status"] == "INACTIVE"
    return {"recommenderArn": arn}


def _fresh_version(world: World) -> dict[str, Any]:
    request = {"solutionArn": world.arn["solution"]}
    return {"solutionVersionArn": world.wire.send("CreateSolutionVersion", request).members["solutionVersionArn"]}


#: A request of each operation that has to be answered.
VALID: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "CreateBatchInferenceJob": _batch,
    "CreateBatchSegmentJob": lambda w: _batch(w, "segments", "items.json"),
    "CreateCampaign": lambda w: {"name": w.make.name(), "solutionVersionArn": w.arn["solution_version"]},
    "CreateDataDeletionJob": lambda w: {
        "jobName": w.make.name(),
        "datasetGroupArn": w.scratch,
        "dataSource": {"dataLocation": w.input("users.csv")},
        "roleArn": ROLE,
    },
    "CreateDataset": lambda w: {
        "name": w.make.name(),
        "schemaArn": w.arn["schema"],
        "datasetGroupArn": w.make.group(),
        "datasetType": "Interactions",
    },
    "CreateDatasetExportJob": lambda w: {
        "jobName": w.make.name(), "datasetArn": w.datasets["Items"], "roleArn": ROLE, "jobOutput": w.output(),
    },
    "CreateDatasetGroup": lambda w: {"name": w.make.name()},
    "CreateDatasetImportJob": lambda w: {
        "jobName": w.make.name(),
        "datasetArn": w.datasets["Items"],
        "dataSource": {"dataLocation": w.input("users.csv")},
        "roleArn": ROLE,
    },
    "CreateEventTracker": lambda w: {"name": w.make.name(), "datasetGroupArn": w.make.group()},
    "CreateFilter": lambda w: {
        "name": w.make.name(),
        "datasetGroupArn": w.arn["dataset_group"],
        "filterExpression": 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")',
    },
    "CreateMetricAttribution": lambda w: {
        "name": w.make.name(),
        "datasetGroupArn": _group_with_interactions(w),
        "metrics": [METRIC],
        "metricsOutputConfig": {"roleArn": ROLE},
    },
    "CreateRecommender": lambda w: {"name": w.make.name(), "datasetGroupArn": w.video, "recipeArn": USE_CASE},
    "CreateSchema": lambda w: {"name": w.make.name(), "schema": json.dumps(INTERACTIONS)},
    "CreateSolution": lambda w: {
        "name": w.make.name(),
        "datasetGroupArn": w.arn["dataset_group"],
        "recipeArn": POPULARITY,
        "performAutoTraining": False,
    },
    "CreateSolutionVersion": lambda w: {"name": w.make.name(), "solutionArn": w.arn["solution"]},
    **{
        f"Delete{''.join(word.capitalize() for word in noun.split('_'))}": _of_a_fresh(noun)
        for noun in (
            "campaign", "dataset", "dataset_group", "event_tracker", "filter", "metric_attribution", "recommender",
            "schema", "solution",
        )
    },
    "DescribeAlgorithm": lambda _: {"algorithmArn": "arn:aws:personalize:::algorithm/aws-hrnn"},
    "DescribeFeatureTransformation": lambda _: {
        "featureTransformationArn": "arn:aws:personalize:::feature-transformation/featurize_metadata"
    },
    "DescribeRecipe": lambda _: {"recipeArn": POPULARITY},
    **{
        name: _named("".join(f"_{c.lower()}" if c.isupper() else c for c in name.removeprefix("Describe"))[1:])
        for name in OPERATIONS
        if name.startswith("Describe")
        and name not in ("DescribeAlgorithm", "DescribeFeatureTransformation", "DescribeRecipe")
    },
    "GetSolutionMetrics": _named("solution_version"),
    **{name: (lambda _: {}) for name in OPERATIONS if name.startswith("List")},
    "ListBatchInferenceJobs": _named("solution_version"),
    "ListBatchSegmentJobs": lambda w: {"solutionVersionArn": w.arn["segments"]},
    "ListCampaigns": _named("solution"),
    "ListDataDeletionJobs": lambda w: {"datasetGroupArn": w.scratch},
    "ListDatasetExportJobs": lambda w: {"datasetArn": w.datasets["Items"]},
    "ListDatasetImportJobs": _named("dataset"),
    "ListDatasets": _named("dataset_group"),
    "ListEventTrackers": _named("dataset_group"),
    "ListFilters": _named("dataset_group"),
    "ListMetricAttributionMetrics": _named("metric_attribution"),
    "ListMetricAttributions": lambda _: {},
    "ListRecommenders": lambda w: {"datasetGroupArn": w.video},
    "ListSolutionVersions": _named("solution"),
    "ListSolutions": _named("dataset_group"),
    "ListTagsForResource": lambda w: {"resourceArn": w.arn["campaign"]},
    "StartRecommender": _stopped_recommender,
    "StopRecommender": _of_a_fresh("recommender"),
    "StopSolutionVersionCreation": _fresh_version,
    "TagResource": lambda w: {"resourceArn": w.arn["campaign"], "tags": [{"tagKey": "a", "tagValue": "b"}]},
    "UntagResource": lambda w: {"resourceArn": w.arn["campaign"], "tagKeys": ["a"]},
    "UpdateCampaign": lambda w: {
        "campaignArn": w.arn["campaign"], "solutionVersionArn": w.arn["solution_version"], "minProvisionedTPS": 2,
    },
    "UpdateDataset": lambda w: {
        "datasetArn": w.datasets["Users"],
        "schemaArn": w.make.schema({
            **INTERACTIONS, "name": "Users", "fields": [*TABLES["Users"], column("TOWN", ["null", "string"])],
        }),
    },
    "UpdateMetricAttribution": lambda w: {
        "metricAttributionArn": w.arn["metric_attribution"],
        "addMetrics": [{**METRIC, "metricName": w.make.name()}],
    },
    "UpdateRecommender": lambda w: {
        "recommenderArn": w.arn["recommender"],
        "recommenderConfig": {"minRecommendationRequestsPerSecond": 2 + int(time.time()) % 90},
    },
    "UpdateSolution": lambda w: {"solutionArn": w.arn["solution"], "performAutoTraining": False},
    "GetActionRecommendations": lambda w: {"campaignArn": w.arn["actions"], "userId": "u1"},
    "GetPersonalizedRanking": lambda w: {
        "campaignArn": w.arn["ranking"], "userId": "u1", "inputList": ["i1", "i2", "never"],
    },
    "GetRecommendations": lambda w: {"campaignArn": w.arn["campaign"], "userId": "u1", "numResults": 5},
    "PutActionInteractions": lambda w: {
        "trackingId": w.action_tracking_id,
        "actionInteractions": [
            {"actionId": "a", "userId": "u", "sessionId": "s", "timestamp": time.time(), "eventType": "Taken"}
        ],
    },
    "PutActions": lambda w: {"datasetArn": w.datasets["Actions"], "actions": [{"actionId": "a"}]},
    "PutEvents": lambda w: {
        "trackingId": w.tracking_id,
        "userId": "u",
        "sessionId": "s",
        "eventList": [{"eventType": "watch", "itemId": "i1", "sentAt": time.time()}],
    },
    "PutItems": lambda w: {
        "datasetArn": w.datasets["Items"],
        "items": [{"itemId": "i", "properties": json.dumps({"genres": "War"})}],
    },
    "PutUsers": lambda w: {"datasetArn": w.datasets["Users"], "users": [{"userId": "u"}]},
}  # fmt: skip
