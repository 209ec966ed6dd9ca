"""The operations of filters, and filters, promotions and metadata in GetRecommendations, on the real system.

What is checked: unit/services/api, and unit/shared/filters for expressions; the rest: unit/services/test_filtering.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conftest import System, until
from tests.operations.conftest import INTERACTIONS, Maker, column, refused

DOMAIN = {"domain": "ECOMMERCE"}
ALSO_VIEWED = "arn:aws:personalize:::recipe/aws-ecomm-customers-who-viewed-x-also-viewed"

SEEN = 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("*")'


def test_its_whole_life(personalize: Any, make: Maker) -> None:
    group, name = make.group(), make.name()
    make.dataset(group)
    arn = personalize.create_filter(name=name, datasetGroupArn=group, filterExpression=SEEN)["filterArn"]
    assert arn == f"arn:aws:personalize:us-east-1:000000000000:filter/{name}"
    made = make.settled("filter", "filter", arn)
    assert (made["name"], made["datasetGroupArn"], made["filterExpression"]) == (name, group, SEEN)
    assert made["status"] == "ACTIVE"
    [listed] = personalize.get_paginator("list_filters").paginate(datasetGroupArn=group).build_full_result()["Filters"]
    assert (listed["filterArn"], listed["status"]) == (arn, "ACTIVE")
    personalize.delete_filter(filterArn=arn)
    make.gone("filter", "filter", arn)


def test_an_expression_is_refused_with_its_place(personalize: Any, make: Maker) -> None:
    with refused("InvalidInputException", "Could not create filter. Invalid Expression.* line 1, column 22"):
        personalize.create_filter(
            name=make.name(), datasetGroupArn=make.group(), filterExpression="INCLUDE ItemID WHERE Items.PRICE > 1"
        )


@pytest.fixture(scope="module")
def shop(make: Maker, personalize: Any) -> tuple[str, str]:
    """The ARNs of a domain dataset group and of its recommender: i0 to i11, of which the even ones are toys."""
    group = make.group(**DOMAIN)
    interactions = make.dataset(group, make.schema({**INTERACTIONS, "fields": INTERACTIONS["fields"][:4]}, **DOMAIN))
    views = [(f"u{n % 60}", f"i{(n + n // 60) % 12}", 1_600_000_000 + n, "View") for n in range(1200)]
    bought = [("u1", "i4", 1_600_100_000, "purchase")]
    job = make.imported(interactions, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE", [*views, *bought]))
    assert job["status"] == "ACTIVE", job
    fields = [column("ITEM_ID"), column("PRICE", "float"), column("CATEGORY_L1", categorical=True)]
    items = make.dataset(group, make.schema({**INTERACTIONS, "name": "Items", "fields": fields}, **DOMAIN), "Items")
    rows = [(f"i{n}", n + 0.5, "toy" if n % 2 == 0 else "book|paper") for n in range(12)]
    job = make.imported(items, make.file("ITEM_ID,PRICE,CATEGORY_L1", rows))
    assert job["status"] == "ACTIVE", job
    recommender = personalize.create_recommender(
        name=make.name(),
        datasetGroupArn=group,
        recipeArn=ALSO_VIEWED,
        recommenderConfig={"enableMetadataWithRecommendations": True},
    )["recommenderArn"]
    made = make.settled("recommender", "recommender", recommender, 120)
    assert made["status"] == "ACTIVE", made
    return group, str(recommender)


def filter_of(make: Maker, group: str, expression: str) -> str:
    created = make.client.create_filter(name=make.name(), datasetGroupArn=group, filterExpression=expression)
    arn = str(created["filterArn"])
    assert make.settled("filter", "filter", arn)["status"] == "ACTIVE"
    return arn


def test_a_filter_a_promotion_and_metadata_make_one_answer(system: System, make: Maker, shop: tuple[str, str]) -> None:
    group, recommender = shop
    kinds = filter_of(make, group, "INCLUDE ItemID WHERE Items.CATEGORY_L1 IN ($KINDS)")
    cheap = filter_of(make, group, "INCLUDE ItemID WHERE Items.PRICE < CurrentItem.PRICE")
    asked = {"recommenderArn": recommender, "userId": "u2", "itemId": "i5", "filterArn": kinds}
    with refused("InvalidInputException", "has no value for KINDS"):
        system.runtime.get_recommendations(**asked)
    answer = system.runtime.get_recommendations(
        **asked,
        filterValues={"KINDS": '"paper","none"'},
        numResults=5,
        metadataColumns={"ITEMS": ["PRICE", "CATEGORY_L1"]},
        promotions=[{"name": "cheap", "percentPromotedItems": 40, "filterArn": cheap}],
    )["itemList"]
    assert len({row["itemId"] for row in answer}) == 5
    for row in answer:
        number = int(row["itemId"].removeprefix("i"))
        assert row["metadata"] == {"price": f"{number}.5", "category_l1": "toy" if number % 2 == 0 else "book|paper"}
        assert number < 5 if row.get("promotionName") == "cheap" else number % 2 == 1
    assert [row.get("promotionName") for row in answer].count("cheap") == 2


def test_what_was_bought_is_hidden_at_once_and_a_put_item_is_filtered_soon(
    system: System, make: Maker, shop: tuple[str, str]
) -> None:
    group, recommender = shop
    _, tracking_id = make.tracker(group)

    def recommended(**more: Any) -> set[str]:
        asked = {"recommenderArn": recommender, "userId": "u1", "itemId": "i0", **more}
        return {row["itemId"] for row in system.runtime.get_recommendations(**asked)["itemList"]}

    assert recommended() == {f"i{n}" for n in range(1, 12)} - {"i4"}
    event = {"eventType": "Purchase", "itemId": "i7", "sentAt": time.time()}
    system.events.put_events(trackingId=tracking_id, userId="u1", sessionId="s", eventList=[event])
    assert recommended() == {f"i{n}" for n in range(1, 12)} - {"i4", "i7"}

    dear = filter_of(make, group, "INCLUDE ItemID WHERE Items.PRICE > 100")
    assert recommended(filterArn=dear) == set()
    item = {"itemId": "i9", "properties": '{"price": 101, "categoryL1": "toy"}'}
    [items] = [
        one["datasetArn"]
        for one in make.client.list_datasets(datasetGroupArn=group)["datasets"]
        if one["datasetType"] == "ITEMS"
    ]
    system.events.put_items(datasetArn=items, items=[item])
    until(lambda: recommended(filterArn=dear) == {"i9"}, 30, "the new price")


def test_a_filter_that_is_none_of_the_groups_is_refused(system: System, make: Maker, shop: tuple[str, str]) -> None:
    other = make.group()
    make.dataset(other)
    asked = {"recommenderArn": shop[1], "userId": "u2", "itemId": "i5"}
    with refused("InvalidInputException", "of another dataset group"):
        system.runtime.get_recommendations(**asked, filterArn=filter_of(make, other, SEEN))
    with refused("ResourceNotFoundException", "The given filter does not exist"):
        system.runtime.get_recommendations(**asked, filterArn=f"{shop[0]}-none".replace("dataset-group", "filter"))
