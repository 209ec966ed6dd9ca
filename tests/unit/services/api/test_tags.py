"""TagResource, UntagResource, ListTagsForResource, and tags given at Create: of every taggable type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.status import transitions as status
from shared.aws.errors import InvalidInput, PersonalizeError, ResourceNotFound, TooManyTagKeys, TooManyTags
from shared.resources import RESOURCES
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS
from shared.state.messages import Failed
from shared.store import Conflict, Record
from tests.unit.services.api.memory_api import GROUP, PREFIX, MemoryApi


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def tags(**values: str) -> list[dict[str, str]]:
    return [{"tagKey": key, "tagValue": value} for key, value in values.items()]


def listed(api: MemoryApi, arn: str = GROUP) -> list[dict[str, str]]:
    found: list[dict[str, str]] = api("ListTagsForResource", resourceArn=arn)["tags"]
    return found


def test_tags_are_added_replaced_and_removed(api: MemoryApi) -> None:
    assert listed(api) == []
    assert api("TagResource", resourceArn=GROUP, tags=tags(team="a", stage="")) == {}
    api("TagResource", resourceArn=GROUP, tags=tags(team="b", Team="c"))
    assert listed(api) == tags(team="b", stage="", Team="c")
    assert api("UntagResource", resourceArn=GROUP, tagKeys=["team", "never"]) == {}
    assert listed(api) == tags(stage="", Team="c")


def test_tags_given_at_create_are_listed(api: MemoryApi) -> None:
    arn = api("CreateDatasetGroup", name="h", tags=tags(team="a"))["datasetGroupArn"]
    assert listed(api, arn) == tags(team="a")


TAGGABLE = sorted(noun for noun in RESOURCES.keys() - {"schema", "metric_attribution"} if not RESOURCES[noun].hidden)


@pytest.mark.parametrize("noun", TAGGABLE)
def test_what_can_be_tagged_at_aws_can_be_tagged(api: MemoryApi, noun: str) -> None:
    arn = api.put(f"{PREFIX}:x/{noun}", noun, {})
    api("TagResource", resourceArn=arn, tags=tags(team="a"))
    assert listed(api, arn) == tags(team="a")


@pytest.mark.parametrize("noun", ["schema", "metric_attribution"])
@pytest.mark.parametrize(
    ("operation", "members"),
    [("TagResource", {"tags": []}), ("UntagResource", {"tagKeys": []}), ("ListTagsForResource", {})],
)
def test_schemas_and_metric_attributions_have_no_tags(
    api: MemoryApi, noun: str, operation: str, members: dict[str, Any]
) -> None:
    arn = api.put(f"{PREFIX}:x/{noun}", noun, {})
    with pytest.raises(InvalidInput, match="can't have tags"):
        api(operation, resourceArn=arn, **members)


def many(count: int, prefix: str = "k") -> list[dict[str, str]]:
    return tags(**{f"{prefix}{number}": "" for number in range(count)})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (many(51), TooManyTags, "50 tags; these would be 51"),
        (tags(secret="") * 2, InvalidInput, "unique"),
        (tags(**{"aws:secret": ""}), InvalidInput, "begin with aws:"),
        (tags(**{"AWS:secret": ""}), InvalidInput, "begin with aws:"),
    ],
)
def test_bad_tags_are_refused_alike_and_not_repeated(
    api: MemoryApi, given: list[dict[str, str]], error: type[PersonalizeError], message: str
) -> None:
    for operation, members in (("TagResource", {"resourceArn": GROUP}), ("CreateDatasetGroup", {"name": "h"})):
        with pytest.raises(error, match=message) as refusal:
            api(operation, tags=given, **members)
        assert "secret" not in refusal.value.message
    assert listed(api) == []
    assert len(api("ListDatasetGroups")["datasetGroups"]) == 1


def test_fifty_tags_are_the_most_of_a_resource(api: MemoryApi) -> None:
    api("TagResource", resourceArn=GROUP, tags=many(50))
    api("TagResource", resourceArn=GROUP, tags=many(50))
    with pytest.raises(TooManyTags, match="would be 51"):
        api("TagResource", resourceArn=GROUP, tags=many(1, "more"))
    with pytest.raises(TooManyTagKeys):
        api("UntagResource", resourceArn=GROUP, tagKeys=[f"k{number}" for number in range(51)])
    assert len(listed(api)) == 50


def test_an_unknown_resource_has_no_tags(api: MemoryApi) -> None:
    with pytest.raises(ResourceNotFound, match="campaign/none"):
        listed(api, f"{PREFIX}:campaign/none")
    with pytest.raises(ResourceNotFound):
        listed(api, api.put(f"{PREFIX}:recommender/r/1", "recommender_version", {}))


def test_work_that_is_under_way_goes_on(api: MemoryApi) -> None:
    arn = api.version(status=CREATE_IN_PROGRESS)
    api.store.replace(replace(api.record(arn), attempt=3, failures=1, state={"imports": {}}))
    before = api.record(arn)
    api("TagResource", resourceArn=arn, tags=tags(team="a"))
    after = api.record(arn)
    assert after == replace(before, version=before.version + 1, state={"imports": {}, "tags": tags(team="a")})
    status.write_transition(api.store, Failed(arn=arn, attempt=3, reason="no"))
    assert (api.record(arn).status, listed(api, arn)) == (CREATE_FAILED, tags(team="a"))


def test_a_status_that_moves_beside_it_is_kept(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = api.version(status=CREATE_IN_PROGRESS)
    write = api.store.replace

    def beaten(record: Record, **more: Any) -> None:
        monkeypatch.undo()
        write(replace(api.record(arn), status=ACTIVE))
        with pytest.raises(Conflict):
            write(record, **more)
        raise Conflict(arn)

    monkeypatch.setattr(api.store, "replace", beaten)
    api("TagResource", resourceArn=arn, tags=tags(team="a"))
    assert (api.record(arn).status, listed(api, arn)) == (ACTIVE, tags(team="a"))
