"""Create and Update requests for every type, from what stands: parents may be ready, moving, gone or never made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.unit.state_machine.rules import Model

PREFIX = "arn:aws:personalize:us-east-1:000000000000"
ROLE = "arn:aws:iam::000000000000:role/personalize"
NAMES = ("a", "b", "c")
#: The one dataset group of a domain.
VIDEO = "video"
DOMAIN: Mapping[bool, Mapping[str, str]] = {True: {"domain": "VIDEO_ON_DEMAND"}, False: {}}
TABLES: Mapping[str, list[dict[str, Any]]] = {
    "Interactions": [
        {"name": "USER_ID", "type": "string"},
        {"name": "ITEM_ID", "type": "string"},
        {"name": "TIMESTAMP", "type": "long"},
        {"name": "EVENT_TYPE", "type": "string"},
    ],
    "Items": [
        {"name": "ITEM_ID", "type": "string"},
        {"name": "GENRES", "type": "string", "categorical": True},
        {"name": "CREATION_TIMESTAMP", "type": "long"},
    ],
}
RECIPE = "arn:aws:personalize:::recipe/aws-hrnn"
#: The recipe of solutions of this name, whose versions serve batch segment jobs alone.
SEGMENTS, SEGMENT_RECIPE = "c", "arn:aws:personalize:::recipe/aws-item-affinity"
USE_CASE = "arn:aws:personalize:::recipe/aws-vod-most-popular"
S3_OUTPUT = {"s3DataDestination": {"path": "s3://bucket/out/"}}

#: Picks one of some ARNs or names.
Pick = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Wish:
    """``uses`` are the ARNs that the resource will stand on, ``name`` what nobody of its kind may have already."""

    kind: str
    request: Mapping[str, Any]
    uses: tuple[str, ...] = ()
    name: str = ""


def schema_text(table: str) -> str:
    fields = TABLES[table]
    document = {"type": "record", "name": table, "namespace": "com.amazonaws.personalize.schema", "fields": fields}
    return json.dumps({**document, "version": "1.0"})


def some(kind: str, standing: Model, pick: Pick) -> str:
    """The ARN of one that stands, that is gone, or that never was."""
    word = kind.replace("_", "-")
    dead = [arn for arn in standing.lives if f":{word}/" in arn and arn not in standing.known][:1]
    alive = [one.arn for one in standing.of(kind)]
    return pick([*alive * 5, *dead, f"{PREFIX}:{word}/never"])


def dataset_group(_standing: Model, pick: Pick) -> Wish:
    name = pick((*NAMES, VIDEO))
    return Wish("dataset_group", {"name": name, **DOMAIN[name == VIDEO]}, name=name)


def schema(_standing: Model, pick: Pick) -> Wish:
    table, last = pick(tuple(TABLES)), pick((*NAMES, VIDEO))
    name = f"{table}-{last}"
    return Wish("schema", {"name": name, "schema": schema_text(table), **DOMAIN[last == VIDEO]}, name=name)


def dataset(standing: Model, pick: Pick) -> Wish:
    table = pick(tuple(TABLES))
    group = some("dataset_group", standing, pick)
    fitting = [one.arn for one in standing.of("schema") if f"/{table}-" in one.arn]
    fitting = [arn for arn in fitting if arn.endswith(VIDEO) == group.endswith(VIDEO)]
    schema = pick([*fitting, f"{PREFIX}:schema/{table}-never"])
    request = {"name": pick(NAMES), "datasetGroupArn": group, "schemaArn": schema, "datasetType": table}
    return Wish("dataset", request, (group, schema), f"{group}/{table}")


def dataset_import_job(standing: Model, pick: Pick) -> Wish:
    return _job("dataset_import_job", some("dataset", standing, pick), pick, dataSource={"dataLocation": "s3://b/k"})


def dataset_export_job(standing: Model, pick: Pick) -> Wish:
    return _job("dataset_export_job", some("dataset", standing, pick), pick, jobOutput=S3_OUTPUT)


def _job(kind: str, dataset_arn: str, pick: Pick, **more: Any) -> Wish:
    name = pick(NAMES)
    return Wish(kind, {"jobName": name, "datasetArn": dataset_arn, "roleArn": ROLE, **more}, (dataset_arn,), name)


def data_deletion_job(standing: Model, pick: Pick) -> Wish:
    group, name = some("dataset_group", standing, pick), pick(NAMES)
    request = {"jobName": name, "datasetGroupArn": group, "roleArn": ROLE, "dataSource": {"dataLocation": "s3://b/k"}}
    return Wish("data_deletion_job", request, (group,), name)


def solution(standing: Model, pick: Pick) -> Wish:
    group, name = some("dataset_group", standing, pick), pick(NAMES)
    recipe = SEGMENT_RECIPE if name == SEGMENTS else RECIPE
    request = {"name": name, "datasetGroupArn": group, "recipeArn": recipe, "performAutoTraining": False}
    return Wish("solution", request, (group,), name)


def solution_version(standing: Model, pick: Pick) -> Wish:
    arn = some("solution", standing, pick)
    if arn not in standing.known:
        return Wish("solution_version", {"solutionArn": arn}, (arn,))
    (group,) = standing.known[arn].uses
    return Wish("solution_version", {"solutionArn": arn}, (arn, group, *_datasets(group, standing)))


def campaign(standing: Model, pick: Pick) -> Wish:
    version, name = _version(standing, pick), pick(NAMES)
    request = {"name": name, "solutionVersionArn": version}
    return Wish("campaign", request, (version.rpartition("/")[0], version), name)


def _version(standing: Model, pick: Pick, *, segments: bool = False) -> str:
    versions = [one.arn for one in standing.of("solution_version")]
    alive = [arn for arn in versions if (f"/{SEGMENTS}/" in arn) == segments]
    return pick([*alive * 5, f"{PREFIX}:solution/never/00000000"])


def batch_inference_job(standing: Model, pick: Pick) -> Wish:
    return _batch_job("batch_inference_job", _version(standing, pick), pick)


def batch_segment_job(standing: Model, pick: Pick) -> Wish:
    return _batch_job("batch_segment_job", _version(standing, pick, segments=True), pick)


def _batch_job(kind: str, version: str, pick: Pick) -> Wish:
    name = pick(NAMES)
    request = {
        "jobName": name,
        "solutionVersionArn": version,
        "roleArn": ROLE,
        "jobInput": {"s3DataSource": {"path": "s3://bucket/in.json"}},
        "jobOutput": S3_OUTPUT,
    }
    return Wish(kind, request, (version, version.rpartition("/")[0]), name)


def recommender(standing: Model, pick: Pick) -> Wish:
    group, name = some("dataset_group", standing, pick), pick(NAMES)
    request = {"name": name, "datasetGroupArn": group, "recipeArn": USE_CASE}
    return Wish("recommender", request, (group, *_datasets(group, standing)), name)


def _datasets(group: str, standing: Model) -> list[str]:
    return [one.arn for one in standing.of("dataset") if group in one.uses]


def event_tracker(standing: Model, pick: Pick) -> Wish:
    return _named("event_tracker", standing, pick)


def filter_(standing: Model, pick: Pick) -> Wish:
    return _named("filter", standing, pick, filterExpression='EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("x")')


def metric_attribution(standing: Model, pick: Pick) -> Wish:
    metric = {"eventType": "WATCH", "metricName": "watched", "expression": "SAMPLECOUNT()"}
    return _named("metric_attribution", standing, pick, metrics=[metric], metricsOutputConfig={"roleArn": ROLE})


def _named(kind: str, standing: Model, pick: Pick, **more: Any) -> Wish:
    group, name = some("dataset_group", standing, pick), pick(NAMES)
    return Wish(kind, {"name": name, "datasetGroupArn": group, **more}, (group,), name)


CREATIONS: Mapping[str, Callable[[Model, Pick], Wish]] = {
    "batch_inference_job": batch_inference_job,
    "batch_segment_job": batch_segment_job,
    "campaign": campaign,
    "data_deletion_job": data_deletion_job,
    "dataset": dataset,
    "dataset_export_job": dataset_export_job,
    "dataset_group": dataset_group,
    "dataset_import_job": dataset_import_job,
    "event_tracker": event_tracker,
    "filter": filter_,
    "metric_attribution": metric_attribution,
    "recommender": recommender,
    "schema": schema,
    "solution": solution,
    "solution_version": solution_version,
}


def campaign_update(campaign_arn: str, standing: Model, pick: Pick) -> Wish:
    version = _version(standing, pick)
    request = {"campaignArn": campaign_arn, "solutionVersionArn": version}
    return Wish("campaign", request, (version.rpartition("/")[0], version))


def dataset_update(dataset_arn: str, standing: Model, pick: Pick) -> Wish:
    schema_arn = some("schema", standing, pick)
    one = standing.known.get(dataset_arn)
    return Wish(
        "dataset", {"datasetArn": dataset_arn, "schemaArn": schema_arn}, ((*one.uses[:1], schema_arn) if one else ())
    )


def recommender_update(recommender_arn: str, standing: Model, pick: Pick) -> Wish:
    one, rate = standing.known.get(recommender_arn), int(pick(("1", "2", "3")))
    request = {
        "recommenderArn": recommender_arn,
        "recommenderConfig": {"minRecommendationRequestsPerSecond": rate},
    }
    return Wish("recommender", request, one.uses[:1] if one else ())


def solution_update(solution_arn: str, standing: Model, _pick: Pick) -> Wish:
    one = standing.known.get(solution_arn)
    return Wish("solution", {"solutionArn": solution_arn, "performAutoTraining": False}, one.uses if one else ())


UPDATES: Mapping[str, Callable[[str, Model, Pick], Wish]] = {
    "campaign": campaign_update,
    "dataset": dataset_update,
    "recommender": recommender_update,
    "solution": solution_update,
}
