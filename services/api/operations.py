"""Create, describe, list and delete: once, for every type of resource.

Each change is read, decided and written with a comparison; when something moved in between, it is decided again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from services.api import page_tokens
from shared.aws import arns, service_model
from shared.aws.errors import (
    InvalidInput,
    LimitExceeded,
    PersonalizeError,
    ResourceAlreadyExists,
    ResourceInUse,
    ServiceUnavailable,
    TooManyTags,
)
from shared.http.app import Answer, Call
from shared.jobs import celery_app as queue
from shared.resources import RESOURCES, Reading, Resource, described, summarised
from shared.resources.resource_type import first_record, settled, with_update
from shared.settings import Settings
from shared.state.lifecycle import FAILED_STATUSES, TERMINAL, TransitionRequest
from shared.state.messages import Command, Remove
from shared.store import Conflict, LimitReached, NameTaken, Record, Store

log = structlog.get_logger()

T = TypeVar("T")

#: A decision that loses so many races in a row meets more than bad luck.
MAX_ATTEMPTS = 50
#: Of one resource.
MAX_TAGS = 50


@dataclass(frozen=True)
class ApiContext:
    """What an operation works with."""

    store: Store
    queue: queue.MessageQueue
    reading: Reading
    invocation: str | None = None
    """Of the call that is being answered, where it changes something: what it writes is remembered under it."""

    def dispatch(self, command: Command) -> None:
        """Send a command whose note is in the outbox. When the queue is away or refuses, the reconciler sends it."""
        try:
            queue.send_command(self.store, self.queue, command)
        except (OperationalError, RedisError) as error:
            log.warning("command left in the outbox", arn=command.arn, wire=command.wire, reason=str(error))


def retry_on_conflict(attempt: Callable[[], T]) -> T:
    """Run a read-decide-write until nothing moved in between."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return attempt()
        except Conflict:
            continue
    raise ServiceUnavailable("The resource is being changed by too many requests at once. Try again.")


def run_once(desk: ApiContext, call: Call, attempt: Callable[[ApiContext], object]) -> None:
    """``decide`` for a call whose answer says no more than that it was done. An SDK that lost the answer asks again,
    under the same invocation: whatever has come of the resource since, it is answered as before, and nothing is done.
    """
    asked = replace(desk, invocation=_get_invocation_key(call))

    def attempt_once() -> None:
        if _is_done(asked):
            return
        try:
            attempt(asked)
        except PersonalizeError:
            # The first try may have ended only now, and be the reason why this one is refused.
            if not _is_done(asked):
                raise

    retry_on_conflict(attempt_once)


def _get_invocation_key(call: Call) -> str:
    return f"{call.operation}/{call.invocation}"


def _is_done(desk: ApiContext) -> bool:
    return desk.invocation is not None and desk.store.find_by_invocation(desk.invocation) is not None


def create_resource(desk: ApiContext, resource: Resource, call: Call) -> Mapping[str, Any]:
    arn, body = retry_on_conflict(lambda: _create_record(desk, resource, call))
    return {**body, resource.arn_member: arn}


def _create_record(desk: ApiContext, resource: Resource, call: Call) -> tuple[str, Mapping[str, Any]]:
    made = desk.store.find_by_invocation(_get_invocation_key(call))
    if made is not None:
        # Nothing is checked anew: what it stands on may have changed, or gone, since.
        return made, _load_body(desk, made)
    check_tags(call.request.get("tags") or [])
    draft = resource.draft(call.request, desk.reading)
    record = first_record(resource, draft, desk.store.now(), call.request.get("tags") or ())
    command = None if is_terminal_at_once(resource) else _build_command(resource, record)
    try:
        arn = desk.store.create(
            record,
            invocation=_get_invocation_key(call),
            guards=draft.guards,
            limit=resource.limit(draft, desk.reading.settings),
            outbox=[queue.build_outbox_entry(command)] if command else [],
        )
    except NameTaken as taken:
        raise ResourceAlreadyExists(f"Another resource with Arn {taken.arn} already exists.") from taken
    except LimitReached as reached:
        raise LimitExceeded(_format_limit_message(resource, desk.reading.settings)) from reached
    if command and arn == draft.arn:
        desk.dispatch(command)
    # Else its first try, under way at the same time, was quicker.
    return arn, record.body if arn == draft.arn else _load_body(desk, arn)


def _load_body(desk: ApiContext, arn: str) -> Mapping[str, Any]:
    standing = desk.store.get(arn)
    return standing.body if standing else {}


def _format_limit_message(resource: Resource, settings: Settings) -> str:
    """AWS's texts, and where the number comes from."""
    setting = resource.quota_setting
    most = f"More than {getattr(settings, setting)} resources"
    if resource.quota and resource.quota.pending:
        text = f"{most} with PENDING or IN_PROGRESS status."
    else:
        noun = resource.noun.replace("_", " ")
        text = f"Cannot create a {noun}. {most} in ACTIVE state. Please delete some and try again."
    return f"{text} The service's setting FORETASTE_{setting.upper()} says how many there may be."


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    """Raises TooManyTags, InvalidInput. Neither repeats a key: AWS calls them sensitive."""
    keys = [tag["tagKey"] for tag in tags]
    if len(keys) > MAX_TAGS:
        raise TooManyTags(f"A resource can have {MAX_TAGS} tags; these would be {len(keys)}.")
    if len(set(keys)) < len(keys):
        raise InvalidInput("Tag keys must be unique; one is given twice.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise InvalidInput("Tag keys that begin with aws: are reserved; take another prefix.")


def is_terminal_at_once(resource: Resource) -> bool:
    return resource.lifecycle is None or resource.lifecycle.first in TERMINAL


def describe_resource(desk: ApiContext, resource: Resource, call: Call) -> Answer:
    record = desk.reading.find(call.request[resource.arn_member], resource.noun)
    return Answer(members={resource.camel: described(resource, record, desk.reading)}, headers=_build_headers(record))


def _build_headers(record: Record) -> dict[str, str]:
    """What AWS has no member for, in headers, which every client can read: how far the work is, what is to be known of
    it when it is done, and why a recommender could not be stopped or started, since AWS tells a reason of failed
    statuses alone.
    """
    headers = {}
    if (progress := record.state.get("progress")) and not settled(record):
        headers["x-foretaste-progress"] = page_tokens.dump_json(progress)
    if remarks := record.state.get("remarks"):
        # Cells and names of files may hold letters that no header can.
        headers["x-foretaste-remarks"] = json.dumps(remarks)
    if record.reason is not None and record.status not in FAILED_STATUSES:
        headers["x-foretaste-failure"] = json.dumps(record.reason)
    return headers


def list_resources(desk: ApiContext, resource: Resource, call: Call) -> Mapping[str, Any]:
    filters = page_tokens.get_filters(call)
    member, parent = next(((m, value) for m, value in sorted(filters.items()) if m.endswith("Arn")), ("", None))
    if parent is not None and resource.needed_to_list:
        desk.reading.find(parent, resource.needed_to_list)
    if parent is not None and arns.parse_noun(parent) != (noun := _find_noun(member)):
        raise InvalidInput(f"{member} must be the ARN of a {noun.replace('_', ' ')}; it is {parent}.")
    records, after = desk.store.list_page(
        resource.noun,
        parent,
        after=page_tokens.decode_token(call.request.get("nextToken"), call.operation, filters),
        limit=call.request.get("maxResults", page_tokens.DEFAULT_PAGE_SIZE),
    )
    return {
        _find_list_member(call.operation): [summarised(resource, record) for record in records],
        "nextToken": page_tokens.encode_token(after, call.operation, filters) if after else None,
    }


def _find_noun(arn_member: str) -> str:
    """The type of the resource that a member such as "datasetGroupArn" names."""
    return next(resource.noun for resource in RESOURCES.values() if resource.arn_member == arn_member)


def _find_list_member(operation: str) -> str:
    members = service_model.load_operations("personalize")[operation].output.members
    return next(str(name) for name, shape in members.items() if shape.type_name == "list")


def request_update(
    desk: ApiContext, resource: Resource, record: Record, body: Mapping[str, Any], *, guards: Sequence[Record] = ()
) -> None:
    """Begin to give a resource that stands still the members ``body``. Raises ResourceInUse, Conflict."""
    _replace_record(desk, resource, with_update(resource, record, body, desk.store.now()), guards)


def request_transition(desk: ApiContext, resource: Resource, record: Record, wanted: TransitionRequest) -> None:
    """Begin what a client asks of a resource that stands still. Raises ResourceInUse, InvalidInput, Conflict."""
    if not settled(record):
        raise ResourceInUse(f"{record.arn} is in status {record.in_progress}; wait until that has ended.")
    after = resource.lifecycle.get_next_status(record.status or "", wanted) if resource.lifecycle else None
    if after is None:
        raise InvalidInput(f"{record.arn} is in status {record.status}: there is nothing to {wanted}.")
    asked = replace(record, status=after, reason=None, attempt=record.attempt + 1, failures=0, updated=desk.store.now())
    _replace_record(desk, resource, asked)


def _build_command(resource: Resource, record: Record) -> Command | None:
    command = resource.command_for(record)
    return command(arn=record.arn) if command else None


def _replace_record(desk: ApiContext, resource: Resource, record: Record, guards: Sequence[Record] = ()) -> None:
    command = _build_command(resource, record)
    notes = [queue.build_outbox_entry(command)] if command else []
    desk.store.replace(record, invocation=desk.invocation, guards=guards, outbox=notes)
    if command:
        desk.dispatch(command)


def delete_resource(desk: ApiContext, resource: Resource, call: Call) -> None:
    run_once(desk, call, lambda asked: _delete_record(asked, resource, call.request[resource.arn_member]))


def _delete_record(desk: ApiContext, resource: Resource, arn: str) -> None:
    record = desk.reading.find(arn, resource.noun)
    _refuse_while_needed(desk.reading, resource, record)
    if resource.lifecycle is None:
        desk.store.remove(record, invocation=desk.invocation)
        return
    after = resource.lifecycle.get_next_status(record.status or "", TransitionRequest.DELETE)
    if after is None or not settled(record):
        raise ResourceInUse(f"{arn} is in status {record.in_progress or record.status}; it can't be deleted now.")
    command = Remove(arn=arn)
    desk.store.replace(
        # A new attempt: whatever earlier workers still report is of the past.
        replace(record, status=after, reason=None, attempt=record.attempt + 1, updated=desk.store.now()),
        invocation=desk.invocation,
        outbox=[queue.build_outbox_entry(command)],
    )
    desk.dispatch(command)


def _refuse_while_needed(reading: Reading, resource: Resource, record: Record) -> None:
    for noun in resource.blocked_by:
        for child in reading.children(noun, record.arn):
            raise ResourceInUse(f"{record.arn} is still used by {child.arn}; delete that first.")
    for noun in resource.busy_with:
        for child in reading.children(noun, record.arn):
            if not settled(child):
                raise ResourceInUse(
                    f"{record.arn} is used by {child.arn}, which is in status {child.status}; wait until it has ended."
                )
