"""Every ARN of every operation must be of this Region and account, and of the type that its member says."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.aws.errors import InvalidInput, ResourceNotFound
from tests.contracts.wire.generated_requests import minimal
from tests.unit.services.api.memory_api import GROUP, OPERATIONS, PREFIX, MemoryApi

ASKED = [
    (name, str(member))
    for name in sorted(MemoryApi().offered)
    for member, shape in OPERATIONS[name].input.members.items()
    if shape.name == "Arn"
]


def noun_of(member: str) -> str:
    words = re.sub(r"(?<!^)(?=[A-Z])", "-", member.removesuffix("Arn")).lower()
    return "solution" if words == "solution-version" else words


@pytest.fixture(scope="module")
def api() -> MemoryApi:
    api = MemoryApi()
    api.put(f"{PREFIX}:schema/s", "schema", {})
    api.put(f"{PREFIX}:dataset/g/ITEMS", "dataset", {}, parents=(GROUP, f"{PREFIX}:schema/s"))
    api.version()
    return api


@pytest.mark.parametrize(
    "prefix", ["arn:aws:personalize:us-east-1:111111111111", "arn:aws:personalize:eu-west-1:000000000000"]
)
@pytest.mark.parametrize(("operation", "member"), ASKED)
def test_an_arn_of_elsewhere_finds_nothing(api: MemoryApi, operation: str, member: str, prefix: str) -> None:
    """Even of a name that is known here."""
    name = "s/0a1b2c3d" if member == "solutionVersionArn" else "g/ITEMS" if member == "datasetArn" else "s"
    assert refused_or_empty(api, operation, member, f"{prefix}:{noun_of(member)}/{name}")


@pytest.mark.parametrize(("operation", "member"), [(o, m) for o, m in ASKED if m != "resourceArn"])
def test_an_arn_of_another_type_is_refused(api: MemoryApi, operation: str, member: str) -> None:
    another = f"{PREFIX}:schema/s" if member == "datasetGroupArn" else GROUP
    assert refused_or_empty(api, operation, member, another) == "refused"


def refused_or_empty(api: MemoryApi, operation: str, member: str, arn: str) -> str | None:
    request: dict[str, Any] = {**minimal(OPERATIONS[operation].input), member: arn}
    try:
        answer = api(operation, **request)
    except (ResourceNotFound, InvalidInput) as refusal:
        only = [one for one in request if one.endswith("Arn") and one != "roleArn"] == [member]
        return "refused" if not only or arn in refusal.message else None
    return "empty" if list(answer.values()) == [[]] else None


@pytest.mark.parametrize(
    ("arn", "hint"),
    [
        (f"{PREFIX}:solution/none", r"solution/none$"),
        (GROUP, r"That is the ARN of a dataset group\."),
        (f"{PREFIX}:solution/s/0a1b2c3d", r"That is the ARN of a solution version\."),
        ("arn:aws:personalize:eu-west-1:000000000000:solution/s", "in Region us-east-1, account 000000000000"),
        ("arn:aws:personalize:us-east-1:111111111111:solution/s", "in Region us-east-1, account 000000000000"),
        (f"{PREFIX}:solution", ":solution$"),
    ],
)
def test_the_refusal_says_what_is_wrong(api: MemoryApi, arn: str, hint: str) -> None:
    with pytest.raises(ResourceNotFound, match=f"The given solution does not exist: .*{hint}"):
        api("DescribeSolution", solutionArn=arn)


def test_a_list_goes_by_the_type_of_its_parent(api: MemoryApi) -> None:
    """A dataset is kept under its schema too, and a version under its group: nobody may ask so."""
    assert len(api("ListDatasets", datasetGroupArn=GROUP)["datasets"]) == 1
    with pytest.raises(InvalidInput, match=r"datasetGroupArn must be the ARN of a dataset group; it is .*schema/s\."):
        api("ListDatasets", datasetGroupArn=f"{PREFIX}:schema/s")
