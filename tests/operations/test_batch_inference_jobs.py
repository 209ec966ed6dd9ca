"""CreateBatchInferenceJob, DescribeBatchInferenceJob, ListBatchInferenceJobs: the jobs do their work, at a running
system. What a request is refused for: unit/services/api; what lines and files may be: unit/workers/inference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import POPULARITY, ROLE, SMALL, Life, Maker, column, refused

SIMS = "arn:aws:personalize:::recipe/aws-sims"
SIMILAR = "arn:aws:personalize:::recipe/aws-similar-items"
RANKING = "arn:aws:personalize:::recipe/aws-personalized-ranking"
USERS = ("u1", "u7", "nobody")


def create_job(make: Maker, version: str, bucket: str, **more: Any) -> str:
    created = make.client.create_batch_inference_job(
        jobName=make.name(),
        solutionVersionArn=version,
        roleArn=ROLE,
        jobInput={"s3DataSource": {"path": f"s3://{bucket}/in/users.json"}},
        jobOutput={"s3DataDestination": {"path": f"s3://{bucket}/out/"}},
        **more,
    )
    return str(created["batchInferenceJobArn"])


def give_input(make: Maker, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the bucket of an input of these lines."""
    bucket = make.bucket()
    (make.folder / "s3" / bucket / "in").mkdir()
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (make.folder / "s3" / bucket / "in" / "users.json").write_text(text)
    return bucket


def read_results(make: Maker, bucket: str) -> list[Any]:
    text = (make.folder / "s3" / bucket / "out" / "users.json.out").read_text()
    return [json.loads(line) for line in text.splitlines()]


def run_job(make: Maker, version: str, lines: Sequence[Mapping[str, Any]], **more: Any) -> list[Any]:
    """Return the outputs of these lines."""
    bucket = give_input(make, lines)
    job = make.settled("batch_inference_job", "batchInferenceJob", create_job(make, version, bucket, **more))
    assert job["status"] == "ACTIVE", job
    results = read_results(make, bucket)
    assert [result["input"] for result in results] == lines
    assert [result["error"] for result in results] == [None] * len(lines)
    return [result["output"] for result in results]


def test_it_works(system: System, make: Maker, life: Life) -> None:
    lines = [{"userId": user} for user in USERS]
    bucket = give_input(make, [*lines, {"itemId": "i1"}])
    arn = create_job(make, life.version, bucket, numResults=10)
    job = make.settled("batch_inference_job", "batchInferenceJob", arn)
    assert (job["status"], job["numResults"], job["roleArn"]) == ("ACTIVE", 10, ROLE)
    *results, bad = read_results(make, bucket)
    assert (bad["output"], bad["error"]) == (None, "userId is required.")
    for result, user in zip(results, USERS, strict=True):
        rows = system.runtime.get_recommendations(campaignArn=life.campaign, userId=user, numResults=10)["itemList"]
        assert result["output"]["recommendedItems"] == [row["itemId"] for row in rows]
        assert result["output"]["scores"] == pytest.approx([row["score"] for row in rows], abs=1e-6)
    described = make.client.describe_batch_inference_job(batchInferenceJobArn=arn)
    headers = described["ResponseMetadata"]["HTTPHeaders"]
    assert json.loads(headers["x-foretaste-remarks"]) == {"lines": 4, "failed": 1}
    listed = make.client.list_batch_inference_jobs(solutionVersionArn=life.version)["batchInferenceJobs"]
    assert [one["status"] for one in listed if one["batchInferenceJobArn"] == arn] == ["ACTIVE"]


def test_each_recipe_type_has_its_lines_and_outputs(system: System, make: Maker, life: Life) -> None:
    def train(recipe: str, **more: Any) -> str:
        version = make.trained(make.solution(life.group, recipe, **more))
        assert version["status"] == "ACTIVE", version
        return str(version["solutionVersionArn"])

    [popular] = run_job(make, train(POPULARITY), [{"userId": "u1"}], numResults=3)
    assert (list(popular), len(popular["recommendedItems"])) == (["recommendedItems"], 3)
    [related] = run_job(make, train(SIMS), [{"itemId": "i3"}], numResults=5)
    assert len(related["recommendedItems"]) == 5
    assert "i3" not in related["recommendedItems"]
    asked = [{"userId": "u1", "itemList": ["i1", "i2", "?", "i9"]}]
    ranking = make.solution(life.group, RANKING, solutionConfig=SMALL)
    campaign = make.deployed(ranking)
    version = make.client.describe_campaign(campaignArn=campaign)["campaign"]["solutionVersionArn"]
    [ranked] = run_job(make, version, asked)
    rows = system.runtime.get_personalized_ranking(campaignArn=campaign, userId="u1", inputList=asked[0]["itemList"])
    assert ranked["recommendedItems"] == [row["itemId"] for row in rows["personalizedRanking"]]
    scores = [row.get("score") for row in rows["personalizedRanking"]]
    assert (ranked["scores"][:3], ranked["scores"][3]) == (pytest.approx(scores[:3], abs=1e-6), None)


def test_a_filter_takes_the_values_of_each_line(make: Maker, life: Life) -> None:
    expression = "INCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ($KIND)"
    named = make.client.create_filter(name=make.name(), datasetGroupArn=life.group, filterExpression=expression)[
        "filterArn"
    ]
    make.settled("filter", "filter", named)
    lines = [{"userId": "u1", "filterValues": {"KIND": f'"{kind}"'}} for kind in ("watch", "none")]
    seen, none = run_job(make, life.version, lines, filterArn=named)
    assert seen["recommendedItems"]
    assert none == {"recommendedItems": [], "scores": []}


@pytest.mark.nightly
def test_lists_get_themes_and_a_filter_of_the_current_item(make: Maker) -> None:
    group = make.group()
    assert make.imported(make.dataset(group), make.csv())["status"] == "ACTIVE"
    fields = (column("ITEM_ID"), column("NAME"), column("CATEGORY", categorical=True))
    rows = [(f"i{n}", f"Green tea {n}" if n < 10 else f"Mug {n}", "Tea" if n < 10 else "Cups") for n in range(20)]
    make.filled(group, "Items", fields, rows)
    version = make.trained(make.solution(group, SIMILAR))
    assert version["status"] == "ACTIVE", version
    filter_arn = make.client.create_filter(
        name=make.name(),
        datasetGroupArn=group,
        filterExpression="INCLUDE ItemID WHERE Items.CATEGORY IN CurrentItem.CATEGORY",
    )["filterArn"]
    make.settled("filter", "filter", filter_arn)
    tea, cups = run_job(
        make,
        version["solutionVersionArn"],
        [{"itemId": "i3"}, {"itemId": "i13"}],
        numResults=5,
        filterArn=filter_arn,
        batchInferenceJobMode="THEME_GENERATION",
        themeGenerationConfig={"fieldsForThemeGeneration": {"itemName": "NAME"}},
    )
    assert set(tea) == {"theme", "recommendedItems", "itemsThemeRelevanceScores"}
    assert set(tea["recommendedItems"]) < {f"i{n}" for n in range(10)} - {"i3"}
    assert (tea["theme"], tea["itemsThemeRelevanceScores"]) == ("Tea", [1.0] * 5)
    assert (cups["theme"], cups["itemsThemeRelevanceScores"]) == ("Cups", [1.0] * 5)


def test_an_input_that_is_not_there_is_a_failure_with_awss_text(make: Maker, life: Life) -> None:
    arn = create_job(make, life.version, make.bucket())
    job = make.settled("batch_inference_job", "batchInferenceJob", arn)
    assert job["status"] == "CREATE FAILED"
    assert job["failureReason"].startswith("Invalid S3 input path. There is nothing at s3://")
    [listed] = [
        one
        for one in make.client.list_batch_inference_jobs(solutionVersionArn=life.version)["batchInferenceJobs"]
        if one["batchInferenceJobArn"] == arn
    ]
    assert listed["failureReason"] == job["failureReason"]


def test_a_version_that_does_not_exist_is_refused(make: Maker, life: Life) -> None:
    with refused("ResourceNotFoundException", life.solution):
        create_job(make, life.solution, "bucket")
