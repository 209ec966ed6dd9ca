"""TagResource, UntagResource, ListTagsForResource: the tags of any taggable resource, by its ARN.

Tags are the client's own: they move neither the resource's status nor its lastUpdatedDateTime, nor the attempt of
work that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from services.api.operations import MAX_TAGS, ApiContext, check_tags, run_once
from shared.aws import service_model
from shared.aws.errors import InvalidInput, ResourceNotFound, TooManyTagKeys
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.store import Record

#: AWS's list of {tagKey, tagValue}, as a mapping.
Tags = Mapping[str, str]


def tag_resource(desk: ApiContext, call: Call) -> None:
    given = call.request["tags"]
    check_tags(given)
    new = {tag["tagKey"]: tag["tagValue"] for tag in given}
    run_once(
        desk, call, lambda asked: _change_tags(asked, call.request["resourceArn"], lambda standing: {**standing, **new})
    )


def untag_resource(desk: ApiContext, call: Call) -> None:
    """A key that the resource does not have is passed over."""
    keys = call.request["tagKeys"]
    if len(keys) > MAX_TAGS:
        raise TooManyTagKeys(f"{len(keys)} tag keys are given; no resource has more than {MAX_TAGS}.")
    run_once(
        desk,
        call,
        lambda asked: _change_tags(
            asked,
            call.request["resourceArn"],
            lambda standing: {key: value for key, value in standing.items() if key not in keys},
        ),
    )


def list_tags_for_resource(desk: ApiContext, call: Call) -> Mapping[str, Any]:
    return {"tags": _find_taggable(desk, call.request["resourceArn"]).state.get("tags", [])}


def _change_tags(desk: ApiContext, arn: str, change: Callable[[Tags], Tags]) -> None:
    """Raises ResourceNotFound, InvalidInput, TooManyTags, Conflict."""
    record = _find_taggable(desk, arn)
    standing = {tag["tagKey"]: tag["tagValue"] for tag in record.state.get("tags", [])}
    after = [{"tagKey": key, "tagValue": value} for key, value in change(standing).items()]
    check_tags(after)
    tagged = replace(record, state={**record.state, "tags": after})
    desk.store.replace(tagged, invocation=desk.invocation)


def _find_taggable(desk: ApiContext, arn: str) -> Record:
    record = desk.store.get(arn)
    if record is None or RESOURCES[record.kind].hidden:
        raise ResourceNotFound(f"The given resource does not exist: {arn}")
    # What AWS gives no tags to, its Create takes none for: schemas and metric attributions.
    if "tags" not in service_model.load_operations("personalize")[f"Create{RESOURCES[record.kind].name}"].input.members:
        raise InvalidInput(f"{arn} can't have tags: AWS gives none to this type of resource.")
    return record
