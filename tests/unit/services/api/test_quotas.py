"""AWS's quotas: each counts what AWS counts, refuses with AWS's text, and writes nothing then."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from shared.aws.errors import LimitExceeded, ResourceAlreadyExists
from shared.resources import RESOURCES
from shared.settings import Settings
from tests.unit.services.api.memory_api import GROUP, PREFIX, ROLE, SCHEMAS, MemoryApi

OTHER = f"{PREFIX}:dataset-group/other"
PENDING_TEXT = "More than 1 resources with PENDING or IN_PROGRESS status."
HRNN = "arn:aws:personalize:::recipe/aws-hrnn"
LOCATION = {"dataLocation": "s3://bucket/key"}


def test_every_quota_is_a_setting() -> None:
    settings = {field.name for field in fields(Settings)}
    assert {resource.quota_setting for resource in RESOURCES.values() if resource.quota} <= settings


def test_what_stands_is_unlimited_and_what_waits_is_limited_as_at_aws() -> None:
    quotas = {f.name: getattr(Settings(), f.name) for f in fields(Settings) if f.name.startswith("quota_")}
    limited = {name.removeprefix("quota_pending_"): most for name, most in quotas.items() if most is not None}
    assert limited == {
        "dataset_import_jobs": 5,
        "solution_versions": 20,
        "batch_inference_jobs": 5,
        "batch_segment_jobs": 5,
        "data_deletion_jobs": 5,
        # The lines of one job.
        "quota_theme_lines": 100,
        "quota_segment_item_lines": 500,
        "quota_segment_attribute_lines": 10,
        "quota_metric_attribution_sources": 100,
    }


def a_schema(api: MemoryApi, name: str, _group: str) -> None:
    fields_ = [{"name": column, "type": type_} for column, type_ in SCHEMAS["Items"].items()]
    api("CreateSchema", name=name, schema=json.dumps({"type": "record", "name": "Items", "fields": fields_}))


def a_group(api: MemoryApi, name: str, _group: str) -> None:
    api("CreateDatasetGroup", name=name)


def a_solution(api: MemoryApi, name: str, group: str) -> None:
    api("CreateSolution", name=name, datasetGroupArn=group, recipeArn=HRNN)


def a_campaign(api: MemoryApi, name: str, group: str) -> None:
    api("CreateCampaign", name=name, solutionVersionArn=api.version(name=f"of-{name}", group=group))


@pytest.mark.parametrize(
    ("create", "noun", "per_group"),
    [
        (a_schema, "schema", False),
        (a_group, "dataset_group", False),
        (a_solution, "solution", True),
        (a_campaign, "campaign", True),
    ],
)
def test_what_stands_is_counted_in_the_region_or_in_its_group(
    create: Callable[[MemoryApi, str, str], None], noun: str, per_group: bool
) -> None:
    api = MemoryApi(**{RESOURCES[noun].quota_setting: 3})
    api.put(OTHER, "dataset_group", {"name": "other"})
    standing = len(api.store.list_page(noun)[0])
    for number in range(3 - standing):
        create(api, f"n{number}", GROUP)
    words = noun.replace("_", " ")
    refusal = f"Cannot create a {words}. More than 3 resources in ACTIVE state. Please delete some and try again."
    with pytest.raises(LimitExceeded, match=refusal):
        create(api, "more", GROUP)
    assert api.store.get(f"{PREFIX}:{noun.replace('_', '-')}/more") is None
    with pytest.raises(ResourceAlreadyExists):
        create(api, "n0", GROUP)
    if per_group:
        create(api, "elsewhere", OTHER)


def test_a_campaign_counts_in_its_group_after_an_update_too() -> None:
    api = MemoryApi(quota_campaigns=1)
    a_campaign(api, "a", GROUP)
    arn = f"{PREFIX}:campaign/a"
    after = RESOURCES["campaign"].get_parents(api.record(arn), {"solutionVersionArn": api.version(name="b")})
    assert after == (f"{PREFIX}:solution/b", f"{PREFIX}:solution/b/0a1b2c3d", GROUP)


def an_import(api: MemoryApi, name: str, group: str) -> None:
    dataset = f"{PREFIX}:dataset/{group}/INTERACTIONS"
    api("CreateDatasetImportJob", jobName=name, datasetArn=dataset, dataSource=LOCATION, roleArn=ROLE)


def a_deletion(api: MemoryApi, name: str, group: str) -> None:
    arn = f"{PREFIX}:dataset-group/{group}"
    api("CreateDataDeletionJob", jobName=name, datasetGroupArn=arn, dataSource=LOCATION, roleArn=ROLE)


def a_batch(api: MemoryApi, name: str, group: str) -> None:
    places: dict[str, Any] = {
        "jobInput": {"s3DataSource": {"path": "s3://bucket/in.json"}},
        "jobOutput": {"s3DataDestination": {"path": "s3://bucket/out/"}},
    }
    version = f"{PREFIX}:solution/{group}/0a1b2c3d"
    api("CreateBatchInferenceJob", jobName=name, solutionVersionArn=version, roleArn=ROLE, **places)


def a_version(api: MemoryApi, _name: str, group: str) -> None:
    api("CreateSolutionVersion", solutionArn=f"{PREFIX}:solution/{group}")


@pytest.mark.parametrize(
    ("create", "noun", "per_group"),
    [
        (an_import, "dataset_import_job", False),
        (a_batch, "batch_inference_job", False),
        (a_version, "solution_version", False),
        (a_deletion, "data_deletion_job", True),
    ],
)
def test_what_waits_is_counted_until_it_has_ended(
    create: Callable[[MemoryApi, str, str], None], noun: str, per_group: bool
) -> None:
    api = MemoryApi(**{RESOURCES[noun].quota_setting: 1})
    api.put(OTHER, "dataset_group", {"name": "other"})
    for group in ("g", "other"):
        if noun == "dataset_import_job":
            api.dataset(group=group)
        if noun in ("batch_inference_job", "solution_version"):
            api.version(name=group, group=f"{PREFIX}:dataset-group/{group}")
    create(api, "first", "g")
    [first] = [api.record(arn) for arn in api.store.list_in_progress()]
    with pytest.raises(LimitExceeded, match=PENDING_TEXT):
        create(api, "second", "g")
    if per_group:
        create(api, "theirs", "other")
    else:
        with pytest.raises(LimitExceeded, match="FORETASTE_QUOTA_PENDING"):
            create(api, "theirs", "other")
    api.end(first.arn)
    create(api, "second", "g")
