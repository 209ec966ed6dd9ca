"""CreateRecommender, DescribeRecommender, ListRecommenders, UpdateRecommender, StopRecommender, StartRecommender,
DeleteRecommender, and GetRecommendations of a recommender: one life on the real system.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import System, until
from tests.operations.conftest import INTERACTIONS, Maker, column, refused

RECIPE = "arn:aws:personalize:::recipe/aws-ecomm-popular-items-by-views"
DOMAIN = {"domain": "ECOMMERCE"}


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    """A domain dataset group in which i0 is viewed most, by many, and i9 is bought most."""
    group = make.group(**DOMAIN)
    fields = [*INTERACTIONS["fields"][:4], column("DEVICE", ["null", "string"], categorical=True)]
    dataset = make.dataset(group, make.schema({**INTERACTIONS, "fields": fields}, **DOMAIN))
    rows = [
        (f"u{user}", f"i{item}", 1_600_000_000 + user * 100 + item, "view", "tv")
        for user in range(200)
        for item in range(10)
        if user % (item + 1) == 0 or item == 1
    ]
    rows += [
        (f"u{user}", "i9", 1_600_100_000 + user * 100 + again, "Purchase", "")
        for user in range(40)
        for again in range(20)
    ]
    rows += [
        (f"u{user}", "i0", 1_600_200_000 + user * 100 + again, "View", "") for user in range(200) for again in range(3)
    ]
    job = make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE", rows))
    assert job["status"] == "ACTIVE", job
    return group


def described(personalize: Any, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = personalize.describe_recommender(recommenderArn=arn)["recommender"]
    return found


def test_a_recommenders_life(system: System, personalize: Any, make: Maker, group: str) -> None:
    name = make.name()
    arn = personalize.create_recommender(name=name, datasetGroupArn=group, recipeArn=RECIPE)["recommenderArn"]
    assert arn.endswith(f":recommender/{name}")
    with refused("ResourceAlreadyExistsException"):
        personalize.create_recommender(name=name, datasetGroupArn=group, recipeArn=RECIPE)
    recommender = make.settled("recommender", "recommender", arn, 120)
    assert recommender["status"] == "ACTIVE", recommender
    assert recommender["modelMetrics"]["precision_at_5"] >= 0
    assert "latestRecommenderUpdate" not in recommender

    def recommended() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = system.runtime.get_recommendations(
            recommenderArn=arn, userId="u1", numResults=3
        )["itemList"]
        return listed

    first = recommended()
    assert {item["itemId"] for item in first[:2]} == {"i0", "i1"}
    assert all("score" not in item for item in first)

    personalize.stop_recommender(recommenderArn=arn)
    with refused("InvalidInputException", "STOP|INACTIVE"):
        recommended()
    until(lambda: described(personalize, arn)["status"] == "INACTIVE", 20)
    with refused("InvalidInputException", "nothing to stop"):
        personalize.stop_recommender(recommenderArn=arn)
    personalize.start_recommender(recommenderArn=arn)
    until(lambda: described(personalize, arn)["status"] == "ACTIVE", 20)
    assert recommended() == first

    config = {"trainingDataConfig": {"excludedDatasetColumns": {"Interactions": ["DEVICE"]}}}
    personalize.update_recommender(recommenderArn=arn, recommenderConfig=config)
    assert recommended() == first  # by the old model, or by the new one already
    until(lambda: described(personalize, arn)["latestRecommenderUpdate"]["status"] == "ACTIVE", 60)
    assert described(personalize, arn)["recommenderConfig"]["trainingDataConfig"] == config["trainingDataConfig"]
    assert recommended() == first

    (listed,) = personalize.list_recommenders(datasetGroupArn=group)["recommenders"]
    assert listed["recommenderArn"] == arn
    assert listed["recommenderConfig"]["minRecommendationRequestsPerSecond"] == 1
    with refused("ResourceInUseException", "recommender"):
        personalize.delete_dataset_group(datasetGroupArn=group)
    personalize.delete_recommender(recommenderArn=arn)
    make.gone("recommender", "recommender", arn)
    assert personalize.list_recommenders(datasetGroupArn=group)["recommenders"] == []


def test_too_few_events_of_its_type_fail_with_awss_words(personalize: Any, make: Maker) -> None:
    group = make.group(**DOMAIN)
    dataset = make.dataset(group, make.schema({**INTERACTIONS, "fields": INTERACTIONS["fields"][:4]}, **DOMAIN))
    rows = [(f"u{n % 40}", f"i{n % 7}", 1_600_000_000 + n, "Purchase") for n in range(1200)]
    job = make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE", rows))
    assert job["status"] == "ACTIVE", job
    arn = personalize.create_recommender(name=make.name(), datasetGroupArn=group, recipeArn=RECIPE)["recommenderArn"]
    recommender = make.settled("recommender", "recommender", arn, 60)
    assert recommender["status"] == "CREATE FAILED"
    assert "fewer than 1000 interactions after filtering by event type" in recommender["failureReason"]
    personalize.delete_recommender(recommenderArn=arn)
    make.gone("recommender", "recommender", arn)
