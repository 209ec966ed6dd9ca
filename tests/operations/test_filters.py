"""The operations of filters. What is checked: unit/services/api, and unit/shared/filters for expressions."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import Maker, refused

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
