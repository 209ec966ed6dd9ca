"""CreateBatchInferenceJob and CreateBatchSegmentJob: what is checked, kept and answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.status import transitions as status
from shared.aws.errors import InvalidInput, PersonalizeError, ResourceAlreadyExists, ResourceInUse, ResourceNotFound
from shared.state.lifecycle import CREATE_IN_PROGRESS, CREATE_PENDING, DELETE_PENDING
from shared.state.messages import Remove
from shared.storage.artifacts import Artifacts
from shared.store import Conflict
from tests.unit.services.api.memory_api import PREFIX, ROLE, MemoryApi

INPUT = {"s3DataSource": {"path": "s3://bucket/in/users.json"}}
OUTPUT = {"s3DataDestination": {"path": "s3://bucket/out/"}}


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def inference(api: MemoryApi, version: str, **more: Any) -> str:
    request = {"jobName": "j", "jobInput": INPUT, "jobOutput": OUTPUT, "roleArn": ROLE, **more}
    return str(api("CreateBatchInferenceJob", solutionVersionArn=version, **request)["batchInferenceJobArn"])


def segment(api: MemoryApi, version: str, **more: Any) -> str:
    request = {"jobName": "j", "jobInput": INPUT, "jobOutput": OUTPUT, "roleArn": ROLE, **more}
    return str(api("CreateBatchSegmentJob", solutionVersionArn=version, **request)["batchSegmentJobArn"])


def test_an_inference_job_echoes_what_it_was_given_with_the_defaults(api: MemoryApi) -> None:
    version = api.version()
    arn = inference(api, version, filterArn=api.filter())
    assert arn == f"{PREFIX}:batch-inference-job/j"
    job = api("DescribeBatchInferenceJob", batchInferenceJobArn=arn)["batchInferenceJob"]
    assert job.pop("creationDateTime") == job.pop("lastUpdatedDateTime")
    assert job == {
        "batchInferenceJobArn": arn,
        "jobName": "j",
        "solutionVersionArn": version,
        "filterArn": f"{PREFIX}:filter/f",
        "jobInput": INPUT,
        "jobOutput": OUTPUT,
        "roleArn": ROLE,
        "numResults": 25,
        "batchInferenceJobMode": "BATCH_INFERENCE",
        "status": CREATE_PENDING,
    }
    [listed] = api("ListBatchInferenceJobs", solutionVersionArn=version)["batchInferenceJobs"]
    assert (listed["jobName"], listed["batchInferenceJobMode"]) == ("j", "BATCH_INFERENCE")
    assert api("ListBatchInferenceJobs", solutionVersionArn=f"{version[:-1]}e")["batchInferenceJobs"] == []


def test_a_segment_job_needs_a_recipe_of_segments(api: MemoryApi) -> None:
    version = api.version("aws-item-affinity")
    arn = segment(api, version, numResults=5_000_000)
    job = api("DescribeBatchSegmentJob", batchSegmentJobArn=arn)["batchSegmentJob"]
    assert (arn, job["numResults"], job["status"]) == (f"{PREFIX}:batch-segment-job/j", 5_000_000, CREATE_PENDING)
    assert api("ListBatchSegmentJobs")["batchSegmentJobs"][0]["solutionVersionArn"] == version
    with pytest.raises(InvalidInput, match="USER_SEGMENTATION, which aws-hrnn is not"):
        segment(api, api.version("aws-hrnn", "other"), jobName="k")
    with pytest.raises(InvalidInput, match="between 1 and 5000000"):
        segment(api, version, jobName="k", numResults=5_000_001)


@pytest.mark.parametrize("recipe", ["aws-item-affinity", "aws-trending-now"])
def test_recipes_without_lines_to_infer_are_refused(api: MemoryApi, recipe: str) -> None:
    with pytest.raises(InvalidInput, match=recipe):
        inference(api, api.version(recipe))


def test_names_are_unique_per_kind(api: MemoryApi) -> None:
    version, segments = api.version(), api.version("aws-item-affinity", "a")
    arn = inference(api, version)
    segment(api, segments)
    with pytest.raises(ResourceAlreadyExists, match=arn):
        inference(api, version)


def location(path: str) -> dict[str, Any]:
    return {"path": path}


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"version": f"{PREFIX}:solution/none/1"}, ResourceNotFound, "solution version does not exist"),
        ({"filterArn": f"{PREFIX}:filter/none"}, ResourceNotFound, "filter does not exist"),
        ({"jobInput": {"s3DataSource": location("https://b/x")}}, InvalidInput, "Invalid S3 input path.*s3://"),
        ({"jobOutput": {"s3DataDestination": location("http://b/x")}}, InvalidInput, "Invalid S3 output path.*s3://"),
        (
            {
                "jobInput": {"s3DataSource": location("s3://bucket/same")},
                "jobOutput": {"s3DataDestination": location("s3://bucket/same/")},
            },
            InvalidInput,
            "Invalid S3 output path.*another folder",
        ),
        ({"numResults": 0}, InvalidInput, "numResults is 0; it must lie between 1 and 500"),
        ({"numResults": 501}, InvalidInput, "numResults is 501"),
        (
            {"batchInferenceJobConfig": {"itemExplorationConfig": {"explorationWeight": "0.3"}}},
            InvalidInput,
            "aws-hrnn does not explore",
        ),
        ({"batchInferenceJobConfig": {"rankingInfluence": {"FRESHNESS": 0.5}}}, InvalidInput, "rankingInfluence"),
        ({"batchInferenceJobMode": "THEME_GENERATION"}, InvalidInput, "aws-similar-items, not of aws-hrnn"),
        (
            {"themeGenerationConfig": {"fieldsForThemeGeneration": {"itemName": "TITLE"}}},
            InvalidInput,
            "belongs to batchInferenceJobMode THEME_GENERATION",
        ),
    ],
)
def test_what_an_inference_job_is_refused_for(
    api: MemoryApi, more: dict[str, Any], error: type[PersonalizeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        inference(api, **{"version": api.version(), **more})
    assert api("ListBatchInferenceJobs")["batchInferenceJobs"] == []


def test_the_version_and_the_filter_must_be_active_and_of_one_group(api: MemoryApi) -> None:
    with pytest.raises(ResourceInUse, match=CREATE_IN_PROGRESS):
        inference(api, api.version(name="t", status=CREATE_IN_PROGRESS))
    version = api.version()
    with pytest.raises(ResourceInUse, match=CREATE_PENDING):
        inference(api, version, filterArn=api.filter("waits", status=CREATE_PENDING))
    with pytest.raises(InvalidInput, match="same dataset group"):
        inference(api, version, filterArn=api.filter("theirs", group="another"))


def test_themes_need_the_column_that_names_the_items(api: MemoryApi) -> None:
    version = api.version("aws-similar-items")
    asked: dict[str, Any] = {"batchInferenceJobMode": "THEME_GENERATION"}
    with pytest.raises(InvalidInput, match="needs themeGenerationConfig"):
        inference(api, version, **asked)
    asked["themeGenerationConfig"] = {"fieldsForThemeGeneration": {"itemName": "TITLE"}}
    with pytest.raises(InvalidInput, match="TITLE, no string column of the Items dataset"):
        inference(api, version, **asked)
    api.dataset("Items")
    job = api("DescribeBatchInferenceJob", batchInferenceJobArn=inference(api, version, **asked))["batchInferenceJob"]
    assert {member: job[member] for member in asked} == asked
    asked["themeGenerationConfig"] = {"fieldsForThemeGeneration": {"itemName": "PRICE"}}
    with pytest.raises(InvalidInput, match="PRICE, no string column"):
        inference(api, version, jobName="k", **asked)


def test_exploration_is_for_the_recipe_that_explores(api: MemoryApi) -> None:
    config = {"itemExplorationConfig": {"explorationWeight": "0.3", "explorationItemAgeCutOff": "30"}}
    arn = inference(api, api.version("aws-user-personalization"), batchInferenceJobConfig=config)
    job = api("DescribeBatchInferenceJob", batchInferenceJobArn=arn)["batchInferenceJob"]
    assert job["batchInferenceJobConfig"] == config
    config["itemExplorationConfig"]["explorationWeight"] = "2"
    with pytest.raises(InvalidInput, match="explorationWeight"):
        inference(api, f"{PREFIX}:solution/s/0a1b2c3d", jobName="k", batchInferenceJobConfig=config)


def test_a_filter_of_a_segment_must_be_of_users(api: MemoryApi) -> None:
    api.dataset("Items")
    api.dataset("Users")
    version = api.version("aws-item-affinity")
    of_items = api.filter("items", expression="INCLUDE ItemID WHERE Items.PRICE > 5")
    with pytest.raises(InvalidInput, match=r"filter/items does not filter users; a segment needs one of UserID\."):
        segment(api, version, filterArn=of_items)
    stale = api.filter("stale", expression="INCLUDE UserID WHERE Users.TEAM = 5")
    with pytest.raises(InvalidInput, match="filter/stale does not fit the datasets as they are now"):
        segment(api, version, filterArn=stale)
    segment(api, version, filterArn=api.filter("users", expression="INCLUDE UserID WHERE Users.AGE > 5"))


def test_segments_of_attributes_can_not_be_filtered_by_interactions(api: MemoryApi) -> None:
    api.dataset()
    by_events = api.filter(expression='INCLUDE UserID WHERE Interactions.EVENT_TYPE IN ("buy")')
    with pytest.raises(InvalidInput, match="tests interactions, which segments of aws-item-attribute-affinity can't"):
        segment(api, api.version("aws-item-attribute-affinity"), filterArn=by_events)
    segment(api, api.version("aws-item-affinity", "other"), filterArn=by_events)


def test_a_solution_that_is_being_deleted_takes_no_job_and_a_job_beside_its_deletion_undoes_it(api: MemoryApi) -> None:
    version = api.version()
    solution = version.rpartition("/")[0]
    before = api.record(solution)
    arn = inference(api, version)
    api.end(arn)
    with pytest.raises(Conflict):  # what a deletion that was decided before the job would write
        api.store.replace(before)
    api("DeleteSolution", solutionArn=solution)
    with pytest.raises(ResourceInUse, match=f"{solution} is in status {DELETE_PENDING}"):
        inference(api, version, jobName="k")


def test_a_filter_is_kept_while_a_job_that_names_it_runs(api: MemoryApi) -> None:
    named, free = api.filter(), api.filter("free")
    arn = inference(api, api.version(), filterArn=named)
    api("DeleteFilter", filterArn=free)
    with pytest.raises(ResourceInUse, match=arn):
        api("DeleteFilter", filterArn=named)
    api.end(arn)
    api("DeleteFilter", filterArn=named)
    assert api.record(named).status == DELETE_PENDING


def test_jobs_vanish_with_their_solution_and_hold_it_while_they_run(api: MemoryApi, tmp_path: Path) -> None:
    version = api.version()
    arn, solution = inference(api, version), version.rpartition("/")[0]
    with pytest.raises(ResourceInUse, match=arn):
        api("DeleteSolution", solutionArn=solution)
    api.end(arn)
    api("DeleteSolution", solutionArn=solution)
    status.remove_resource(api.store, Artifacts(tmp_path), Remove(arn=solution))
    assert api("ListBatchInferenceJobs")["batchInferenceJobs"] == []
