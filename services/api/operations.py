"""Create, describe, list, update and delete: one function for all resource types.

A change reads the record, decides, and writes with a comparison. When another request wrote in between, it starts over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.api import page_tokens
from services.api.context import ApiContext, get_invocation_key, retry_on_conflict, run_once
from shared.aws import arns, service_model
from shared.aws.errors import (
    InvalidInput,
    LimitExceeded,
    ResourceAlreadyExists,
    ResourceInUse,
    TooManyTags,
)
from shared.http.app import Answer, Call
from shared.jobs import celery_app as queue
from shared.resources import RESOURCES, Resource, ResourceReader, describe_record, summarize_record
from shared.resources.resource_type import create_record, is_terminal, with_update
from shared.settings import Settings
from shared.state.lifecycle import FAILED_STATUSES, TERMINAL, TransitionRequest
from shared.state.messages import Command, Remove
from shared.store import LimitReached, NameTaken, Record

#: Tags of one resource (AWS's quota).
MAX_TAGS = 50


def create_resource(context: ApiContext, resource: Resource, call: Call) -> Mapping[str, Any]:
    arn, body = retry_on_conflict(lambda: _create_record(context, resource, call))
    return {**body, resource.arn_member: arn}


def _create_record(context: ApiContext, resource: Resource, call: Call) -> tuple[str, Mapping[str, Any]]:
    made = context.store.find_by_invocation(get_invocation_key(call))
    if made is not None:
        # Nothing is checked a second time: the resources that it refers to may have changed or gone since.
        return made, _load_body(context, made)
    check_tags(call.request.get("tags") or [])
    draft = resource.draft(call.request, context.reading)
    record = create_record(resource, draft, context.store.now(), call.request.get("tags") or ())
    command = None if is_terminal_at_once(resource) else _build_command(resource, record)
    try:
        arn = context.store.create(
            record,
            invocation=get_invocation_key(call),
            guards=draft.guards,
            limit=resource.get_limit(draft, context.reading.settings),
            outbox=[queue.build_outbox_entry(command)] if command else [],
        )
    except NameTaken as taken:
        raise ResourceAlreadyExists(f"Another resource with Arn {taken.arn} already exists.") from taken
    except LimitReached as reached:
        raise LimitExceeded(_format_limit_message(resource, context.reading.settings)) from reached
    if command and arn == draft.arn:
        context.dispatch(command)
    # A different ARN means that the first try of this call, which ran at the same time, was quicker.
    return arn, record.body if arn == draft.arn else _load_body(context, arn)


def _load_body(context: ApiContext, arn: str) -> Mapping[str, Any]:
    standing = context.store.get(arn)
    return standing.body if standing else {}


def _format_limit_message(resource: Resource, settings: Settings) -> str:
    """Return AWS's text for an exceeded quota, followed by the setting that the number comes from."""
    setting = resource.quota_setting
    most = f"More than {getattr(settings, setting)} resources"
    if resource.quota and resource.quota.pending:
        text = f"{most} with PENDING or IN_PROGRESS status."
    else:
        noun = resource.noun.replace("_", " ")
        text = f"Cannot create a {noun}. {most} in ACTIVE state. Please delete some and try again."
    return f"{text} The service's setting FORETASTE_{setting.upper()} says how many there may be."


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    """Raise TooManyTags or InvalidInput, without repeating a key: AWS's model calls keys sensitive."""
    keys = [tag["tagKey"] for tag in tags]
    if len(keys) > MAX_TAGS:
        raise TooManyTags(f"A resource can have {MAX_TAGS} tags; these would be {len(keys)}.")
    if len(set(keys)) < len(keys):
        raise InvalidInput("Tag keys must be unique; one is given twice.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise InvalidInput("Tag keys that begin with aws: are reserved; take another prefix.")


def is_terminal_at_once(resource: Resource) -> bool:
    return resource.lifecycle is None or resource.lifecycle.first in TERMINAL


def describe_resource(context: ApiContext, resource: Resource, call: Call) -> Answer:
    record = context.reading.find_record(call.request[resource.arn_member], resource.noun)
    return Answer(
        members={resource.camel: describe_record(resource, record, context.reading)}, headers=_build_headers(record)
    )


def _build_headers(record: Record) -> dict[str, str]:
    """Build the headers for facts that AWS's answer has no member for; every client can read headers.

    They are the progress of work, the remarks of a job that has ended, and the reason why a recommender could not be
    stopped or started (AWS gives reasons for failed statuses only).
    """
    headers = {}
    if (progress := record.state.get("progress")) and not is_terminal(record):
        headers["x-foretaste-progress"] = page_tokens.dump_json(progress)
    if remarks := record.state.get("remarks"):
        # JSON escapes letters of cells and file names that a header cannot hold.
        headers["x-foretaste-remarks"] = json.dumps(remarks)
    if record.reason is not None and record.status not in FAILED_STATUSES:
        headers["x-foretaste-failure"] = json.dumps(record.reason)
    return headers


def list_resources(context: ApiContext, resource: Resource, call: Call) -> Mapping[str, Any]:
    filters = page_tokens.get_filters(call)
    member, parent = next(((m, value) for m, value in sorted(filters.items()) if m.endswith("Arn")), ("", None))
    if parent is not None and resource.needed_to_list:
        context.reading.find_record(parent, resource.needed_to_list)
    if parent is not None and arns.parse_noun(parent) != (noun := _find_noun(member)):
        raise InvalidInput(f"{member} must be the ARN of a {noun.replace('_', ' ')}; it is {parent}.")
    records, after = context.store.list_page(
        resource.noun,
        parent,
        after=page_tokens.decode_token(call.request.get("nextToken"), call.operation, filters),
        limit=call.request.get("maxResults", page_tokens.DEFAULT_PAGE_SIZE),
    )
    return {
        _find_list_member(call.operation): [summarize_record(resource, record) for record in records],
        "nextToken": page_tokens.encode_token(after, call.operation, filters) if after else None,
    }


def _find_noun(arn_member: str) -> str:
    """Return the noun of the resource type that an ARN member names: "dataset_group" for "datasetGroupArn"."""
    return next(resource.noun for resource in RESOURCES.values() if resource.arn_member == arn_member)


def _find_list_member(operation: str) -> str:
    members = service_model.load_operations("personalize")[operation].output.members
    return next(str(name) for name, shape in members.items() if shape.type_name == "list")


def request_update(
    context: ApiContext, resource: Resource, record: Record, body: Mapping[str, Any], *, guards: Sequence[Record] = ()
) -> None:
    """Start giving a resource the members ``body``. Raises ResourceInUse while it is in progress, and Conflict."""
    _replace_record(context, resource, with_update(resource, record, body, context.store.now()), guards)


def request_transition(context: ApiContext, resource: Resource, record: Record, wanted: TransitionRequest) -> None:
    """Start the transition that a client asks for.

    Raises ResourceInUse while the resource is in progress, InvalidInput if its status has no such transition, Conflict.
    """
    if not is_terminal(record):
        raise ResourceInUse(f"{record.arn} is in status {record.in_progress}; wait until that has ended.")
    after = resource.lifecycle.get_next_status(record.status or "", wanted) if resource.lifecycle else None
    if after is None:
        raise InvalidInput(f"{record.arn} is in status {record.status}: there is nothing to {wanted}.")
    asked = replace(
        record, status=after, reason=None, attempt=record.attempt + 1, failures=0, updated=context.store.now()
    )
    _replace_record(context, resource, asked)


def _build_command(resource: Resource, record: Record) -> Command | None:
    command = resource.get_command(record)
    return command(arn=record.arn) if command else None


def _replace_record(context: ApiContext, resource: Resource, record: Record, guards: Sequence[Record] = ()) -> None:
    command = _build_command(resource, record)
    notes = [queue.build_outbox_entry(command)] if command else []
    context.store.replace(record, invocation=context.invocation, guards=guards, outbox=notes)
    if command:
        context.dispatch(command)


def delete_resource(context: ApiContext, resource: Resource, call: Call) -> None:
    run_once(context, call, lambda asked: _delete_record(asked, resource, call.request[resource.arn_member]))


def _delete_record(context: ApiContext, resource: Resource, arn: str) -> None:
    record = context.reading.find_record(arn, resource.noun)
    _refuse_while_needed(context.reading, resource, record)
    if resource.lifecycle is None:
        context.store.remove(record, invocation=context.invocation)
        return
    after = resource.lifecycle.get_next_status(record.status or "", TransitionRequest.DELETE)
    if after is None or not is_terminal(record):
        raise ResourceInUse(f"{arn} is in status {record.in_progress or record.status}; it can't be deleted now.")
    command = Remove(arn=arn)
    context.store.replace(
        # A new attempt number makes the reports of earlier workers stale.
        replace(record, status=after, reason=None, attempt=record.attempt + 1, updated=context.store.now()),
        invocation=context.invocation,
        outbox=[queue.build_outbox_entry(command)],
    )
    context.dispatch(command)


def _refuse_while_needed(reading: ResourceReader, resource: Resource, record: Record) -> None:
    for noun in resource.blocked_by:
        for child in reading.iter_children(noun, record.arn):
            raise ResourceInUse(f"{record.arn} is still used by {child.arn}; delete that first.")
    for noun in resource.busy_with:
        for child in reading.iter_children(noun, record.arn):
            if not is_terminal(child):
                raise ResourceInUse(
                    f"{record.arn} is used by {child.arn}, which is in status {child.status}; wait until it has ended."
                )
