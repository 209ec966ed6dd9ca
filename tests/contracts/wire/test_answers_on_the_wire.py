"""Answers as boto3 sees them: absent members are absent, times are times, nothing is nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from shared.http import app as web
from tests.contracts.wire.served import app_of

ARN = "arn:aws:personalize:us-east-1:000000000000:dataset-group/a"


@pytest.fixture(scope="module")
def answers() -> dict:
    return {}


@pytest.fixture(scope="module")
def control(serve, client_of, answers):
    return client_of("personalize", serve(app_of("personalize", lambda call: answers[call.operation])))


@pytest.fixture(scope="module")
def runtime(serve, client_of, answers):
    url = serve(app_of("personalize-runtime", lambda call: answers[call.operation]))
    return client_of("personalize-runtime", url)


def raw(answer: dict, operation: str, members: object) -> object:
    answer[operation] = members
    app = app_of("personalize", lambda call: answer[call.operation], keys=None)
    return app.test_client().post("/", headers={"X-Amz-Target": f"AmazonPersonalize.{operation}"}, json={})


def test_times_are_epoch_seconds_with_milliseconds(control, answers) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 917_000, tzinfo=UTC)
    answers["DescribeDatasetGroup"] = {
        "datasetGroup": {"creationDateTime": at, "lastUpdatedDateTime": 1_700_000_000.1234}
    }
    group = control.describe_dataset_group(datasetGroupArn=ARN)["datasetGroup"]
    assert group["creationDateTime"] == at
    assert group["lastUpdatedDateTime"].timestamp() == 1_700_000_000.123


def test_none_is_left_out_at_every_depth(answers) -> None:
    members = {"solutions": [{"name": "a", "recipeArn": None, "status": "ACTIVE"}], "nextToken": None}
    assert raw(answers, "ListSolutions", members).data == b'{"solutions":[{"name":"a","status":"ACTIVE"}]}'


def test_members_that_the_model_does_not_know_are_left_out(answers) -> None:
    members = {"solutions": [{"name": "a", "version": 7}], "_cursor": 3}
    assert raw(answers, "ListSolutions", members).data == b'{"solutions":[{"name":"a"}]}'


def test_values_are_not_checked(control, answers) -> None:
    """AWS's own answers break the patterns of its model: a role is not a Personalize ARN."""
    role = "arn:aws:iam::000000000000:role/a"
    answers["DescribeDatasetImportJob"] = {"datasetImportJob": {"roleArn": role}}
    job = control.describe_dataset_import_job(datasetImportJobArn=ARN)["datasetImportJob"]
    assert job["roleArn"] == role


def test_an_operation_without_output_answers_nothing_at_all(answers) -> None:
    answers["DeleteSchema"] = None
    app = app_of("personalize", lambda call: answers[call.operation], keys=None)
    answer = app.test_client().post(
        "/", headers={"X-Amz-Target": "AmazonPersonalize.DeleteSchema"}, json={"schemaArn": ARN}
    )
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers["Content-Type"] == "application/x-amz-json-1.1"


def test_an_empty_structure_is_an_empty_object(answers) -> None:
    answers["TagResource"] = None
    app = app_of("personalize", lambda call: answers[call.operation], keys=None)
    answer = app.test_client().post(
        "/",
        headers={"X-Amz-Target": "AmazonPersonalize.TagResource"},
        json={"resourceArn": ARN, "tags": [{"tagKey": "a", "tagValue": ""}]},
    )
    assert answer.data == b"{}"


def test_a_handler_may_add_headers(control, answers) -> None:
    answers["ListRecipes"] = web.Answer(members={"recipes": []}, headers={"X-Replayed": "true"})
    headers = control.list_recipes()["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-replayed"] == "true"
    assert headers["content-type"] == "application/x-amz-json-1.1"


def test_scores_and_texts_arrive_as_they_were(runtime, answers) -> None:
    items = [{"itemId": "Größe \U0001f3ac", "score": 0.1234567}, {"itemId": "b", "score": None}]
    answers["GetRecommendations"] = {"itemList": items, "recommendationId": "RID-1"}
    answer = runtime.get_recommendations(campaignArn=ARN)
    assert answer["itemList"] == [{"itemId": "Größe \U0001f3ac", "score": 0.1234567}, {"itemId": "b"}]
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("score", "text"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")]
)
def test_numbers_that_json_lacks_are_texts(score, text) -> None:
    app = app_of("personalize-runtime", lambda _: {"itemList": [{"score": score}]}, keys=None)
    assert json.loads(app.test_client().post("/recommendations").data) == {"itemList": [{"score": text}]}


def test_a_list_that_aws_spells_with_a_capital(control, answers) -> None:
    answers["ListFilters"] = {"Filters": [{"name": "a"}]}
    assert control.list_filters()["Filters"] == [{"name": "a"}]
