"""TagResource, UntagResource, ListTagsForResource: the tags of any taggable resource, by its ARN.

Tags belong to the client. They change neither the resource's status nor its lastUpdatedDateTime, nor the attempt
number of work that is in progress.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import MAX_TAGS, check_tags
from shared.aws import service_model
from shared.aws.errors import InvalidInput, ResourceNotFound, TooManyTagKeys
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.store import Record

#: AWS's list of {tagKey, tagValue}, as a mapping.
Tags = Mapping[str, str]


def tag_resource(context: ApiContext, call: Call) -> None:
    given = call.request["tags"]
    check_tags(given)
    new = {tag["tagKey"]: tag["tagValue"] for tag in given}
    run_once(
        context,
        call,
        lambda bound: _change_tags(bound, call.request["resourceArn"], lambda standing: {**standing, **new}),
    )


def untag_resource(context: ApiContext, call: Call) -> None:
    """Remove tags by key. Keys that the resource does not have are ignored."""
    keys = call.request["tagKeys"]
    if len(keys) > MAX_TAGS:
        raise TooManyTagKeys(f"{len(keys)} tag keys are given; no resource has more than {MAX_TAGS}.")
    run_once(
        context,
        call,
        lambda bound: _change_tags(
            bound,
            call.request["resourceArn"],
            lambda standing: {key: value for key, value in standing.items() if key not in keys},
        ),
    )


def list_tags_for_resource(context: ApiContext, call: Call) -> Mapping[str, Any]:
    return {"tags": _find_taggable(context, call.request["resourceArn"]).state.get("tags", [])}


def _change_tags(context: ApiContext, arn: str, change: Callable[[Tags], Tags]) -> None:
    """Replace the tags of a resource. Raises ResourceNotFound, InvalidInput, TooManyTags, Conflict."""
    record = _find_taggable(context, arn)
    standing = {tag["tagKey"]: tag["tagValue"] for tag in record.state.get("tags", [])}
    after = [{"tagKey": key, "tagValue": value} for key, value in change(standing).items()]
    check_tags(after)
    tagged = replace(record, state={**record.state, "tags": after})
    context.store.replace(tagged, invocation=context.invocation)


def _find_taggable(context: ApiContext, arn: str) -> Record:
    record = context.store.get(arn)
    if record is None or RESOURCES[record.kind].hidden:
        raise ResourceNotFound(f"The given resource does not exist: {arn}")
    # AWS gives no tags to a type whose Create operation takes none: schemas and metric attributions.
    if "tags" not in service_model.load_operations("personalize")[f"Create{RESOURCES[record.kind].name}"].input.members:
        raise InvalidInput(f"{arn} can't have tags: AWS gives none to this type of resource.")
    return record
