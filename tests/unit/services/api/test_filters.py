"""CreateFilter and what follows: what is checked, kept and answered. Expressions themselves: unit/shared/filters."""

from __future__ import annotations

from typing import Any

import pytest

from shared.aws.errors import InvalidInput, LimitExceeded, ResourceAlreadyExists, ResourceInUse, ResourceNotFound
from shared.state.lifecycle import ACTIVE, CREATE_PENDING, DELETE_PENDING
from shared.state.messages import Remove
from tests.unit.services.api.memory_api import GROUP, PREFIX, MemoryApi

CHEAP = "INCLUDE ItemID WHERE Items.PRICE < $PRICE"


@pytest.fixture
def api() -> MemoryApi:
    api = MemoryApi()
    api.dataset("Interactions")
    return api


def create(api: MemoryApi, expression: str = CHEAP, name: str = "f", group: str = GROUP, **more: Any) -> str:
    request = {"name": name, "datasetGroupArn": group, "filterExpression": expression, **more}
    return str(api("CreateFilter", **request)["filterArn"])


def test_it_works(api: MemoryApi) -> None:
    api.dataset("Items")
    tags = [{"tagKey": "team", "tagValue": "films"}]
    arn = create(api, tags=tags)
    assert arn == f"{PREFIX}:filter/f"
    assert api.record(arn).status == CREATE_PENDING
    api.settle()
    described = api("DescribeFilter", filterArn=arn)["filter"]
    times = {described.pop("creationDateTime"), described.pop("lastUpdatedDateTime")}
    assert all(isinstance(time, float) for time in times)
    assert described == {
        "name": "f",
        "filterArn": arn,
        "datasetGroupArn": GROUP,
        "filterExpression": CHEAP,
        "status": ACTIVE,
    }
    assert api.record(arn).state["tags"] == tags


def test_they_are_listed_newest_first_without_their_expressions(api: MemoryApi) -> None:
    api.dataset("Items")
    arns = [create(api, name=name) for name in ("f", "g")]
    listed = api("ListFilters", datasetGroupArn=GROUP)["Filters"]
    assert [each["filterArn"] for each in listed] == arns[::-1]
    assert listed[0].keys() == {
        "name",
        "filterArn",
        "datasetGroupArn",
        "status",
        "creationDateTime",
        "lastUpdatedDateTime",
    }
    assert api("ListFilters", datasetGroupArn=f"{PREFIX}:dataset-group/none") == {"Filters": []}
    assert len(api("ListFilters")["Filters"]) == 2


def test_a_group_that_does_not_exist_is_named(api: MemoryApi) -> None:
    with pytest.raises(ResourceNotFound, match=f"The given dataset group does not exist: {PREFIX}:dataset-group/none"):
        create(api, group=f"{PREFIX}:dataset-group/none")


@pytest.mark.parametrize("status", [CREATE_PENDING, DELETE_PENDING])
def test_a_group_that_is_not_ready_is_refused_as_aws_can(api: MemoryApi, status: str) -> None:
    """ResourceInUseException is not among the errors of CreateFilter."""
    group = api.put(f"{PREFIX}:dataset-group/h", "dataset_group", {"name": "h"}, status)
    with pytest.raises(InvalidInput, match=f"is in status {status}"):
        create(api, group=group)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("INCLUDE", "Could not create filter. Invalid Expression: it ends where there should be ItemID"),
        (CHEAP, "Could not create filter. Invalid Expression: Items.PRICE at line 1, column 22 names a dataset"),
        (
            'INCLUDE ItemID WHERE Interactions.DEVICE IN ("tv")',
            "Could not create filter. Invalid Expression: Interactions.DEVICE at line 1, column 22 can't be",
        ),
        (
            "EXCLUDE ItemID WHERE Interactions.EVENT_TYPE NOT IN ($KIND)",
            "Could not create filter. Invalid input symbol: $KIND. Placeholders are not allowed with NOT_IN operator.",
        ),
    ],
)
def test_an_expression_that_does_not_fit_the_group_is_refused(api: MemoryApi, expression: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        create(api, expression)
    assert refusal.value.message.startswith(message)


def test_a_name_is_taken_in_every_group(api: MemoryApi) -> None:
    api.dataset("Items")
    api.put(f"{PREFIX}:dataset-group/h", "dataset_group", {"name": "h"})
    api.dataset("Items", group="h")
    arn = create(api)
    with pytest.raises(ResourceAlreadyExists, match=arn):
        create(api, group=f"{PREFIX}:dataset-group/h")


def test_a_filter_has_at_most_ten_distinct_fields(api: MemoryApi) -> None:
    api.dataset("Items", **{f"N{number}": "int" for number in range(11)})
    conditions = [f"Items.N{number} = 1" for number in range(11)]
    create(api, "INCLUDE ItemID WHERE " + " OR ".join(conditions[:10] * 2))
    with pytest.raises(LimitExceeded, match="has 11 distinct fields; at most 10"):
        create(api, "INCLUDE ItemID WHERE " + " OR ".join(conditions), name="g")


def test_the_filters_of_a_group_have_at_most_twenty_distinct_fields(api: MemoryApi) -> None:
    api.dataset("Items", **{f"N{number}": "int" for number in range(21)})
    conditions = [f"Items.N{number} = 1" for number in range(21)]
    first = create(api, "INCLUDE ItemID WHERE " + " OR ".join(conditions[:10]), name="a")
    create(api, "INCLUDE ItemID WHERE " + " OR ".join(conditions[10:20]), name="b")
    create(api, "INCLUDE ItemID WHERE " + " OR ".join(conditions[5:15]), name="c")
    with pytest.raises(LimitExceeded, match="would have 21 distinct fields; at most 20"):
        create(api, f"INCLUDE ItemID WHERE {conditions[20]}", name="d")
    api.store.remove(api.record(first))
    create(api, f"INCLUDE ItemID WHERE {conditions[20]}", name="d")


def test_its_group_is_not_deleted_under_it(api: MemoryApi) -> None:
    api.put(f"{PREFIX}:dataset-group/h", "dataset_group", {"name": "h"})
    arn = api.put(f"{PREFIX}:filter/f", "filter", {}, parents=(f"{PREFIX}:dataset-group/h",))
    with pytest.raises(ResourceInUse, match=arn):
        api("DeleteDatasetGroup", datasetGroupArn=f"{PREFIX}:dataset-group/h")


def test_it_is_deleted_once_it_stands_still(api: MemoryApi) -> None:
    api.dataset("Items")
    arn = create(api)
    with pytest.raises(ResourceInUse, match=CREATE_PENDING):
        api("DeleteFilter", filterArn=arn)
    api.settle()
    api("DeleteFilter", filterArn=arn)
    assert api.record(arn).status == DELETE_PENDING
    assert api.sent.messages == [Remove(arn=arn)]
    with pytest.raises(ResourceNotFound, match="filter does not exist"):
        api("DeleteFilter", filterArn=f"{PREFIX}:filter/none")
