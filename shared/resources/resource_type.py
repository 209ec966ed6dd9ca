"""The declaration of a type of resource, and the view of the store that its checks may use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from shared.aws import arns
from shared.aws.errors import ResourceInUse, ResourceNotFound
from shared.settings import Settings
from shared.state.lifecycle import (
    ACTIVE,
    FAILED_STATUSES,
    TERMINAL,
    UPDATE,
    UPDATE_IN_PLACE,
    UPDATE_IN_PROGRESS,
    UPDATE_PENDING,
    Lifecycle,
)
from shared.state.messages import Command
from shared.store import Limit, Record, Records, Update


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The content of a record to create. ``guards`` are the records that must not change until it is written."""

    arn: str
    body: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    guards: tuple[Record, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quota:
    """AWS limits how many of a type there may be: in the account and Region, or under each parent of a type.

    The number is the setting ``FORETASTE_QUOTA_...`` with the type's name.
    """

    within: str | None = None
    """The parent's noun."""
    pending: bool = False
    """Count only those whose work waits or is in progress."""


@dataclass(frozen=True)
class ResourceReader:
    """Reads records for the checks of resources."""

    records: Records
    settings: Settings

    def build_arn(self, kind: str, name: str) -> str:
        """Return an ARN of this account and Region; ``kind`` is AWS's word for the type."""
        return str(arns.Arn(kind, name, self.settings.region, self.settings.account_id))

    def find_record(self, arn: str, *nouns: str) -> Record:
        """Return the record, which must be of one of these types. Raises ResourceNotFound."""
        record = self.records.get(arn)
        if record is None or record.kind not in nouns:
            raise ResourceNotFound(
                f"The given {nouns[0].replace('_', ' ')} does not exist: {arn}{self._explain_missing(arn, nouns)}"
            )
        return record

    def _explain_missing(self, arn: str, nouns: tuple[str, ...]) -> str:
        """Return a sentence for an ARN under which no record of these types can be; "" where one could."""
        parsed, noun = arns.parse_arn(arn), arns.parse_noun(arn)
        if parsed is None or noun is None:
            return ""
        here = (self.settings.region, self.settings.account_id)
        if (parsed.region, parsed.account) != here:
            return f". This service is in Region {here[0]}, account {here[1]}."
        return "" if noun in nouns else f". That is the ARN of a {noun.replace('_', ' ')}."

    def find_active(self, arn: str, noun: str) -> Record:
        """Return the record of that type, which must be ACTIVE. Raises ResourceNotFound or ResourceInUse."""
        record = self.find_record(arn, noun)
        if (status := get_shown_status(record)) != ACTIVE:
            raise ResourceInUse(f"The {noun.replace('_', ' ')} {arn} is in status {status}; it must be {ACTIVE}.")
        return record

    def iter_children(self, noun: str, parent: str | None = None, *, whole: bool = True) -> Iterator[Record]:
        """Yield all records of a type, or those listed under ``parent``, newest first.

        Raises Unreadable where one can't be read: a decision about all records must not rest on some. With ``whole``
        False, unreadable records are left out, for loops that treat each record by itself.
        """
        after: str | None = None
        while True:
            page, after = self.records.list_page(noun, parent, after=after, whole=whole)
            yield from page
            if after is None:
                return


def get_shown_status(record: Record) -> str | None:
    """Return the status that clients see: some updates are shown as the resource's own status."""
    if record.update is not None and record.update.status in (UPDATE_PENDING, UPDATE_IN_PROGRESS):
        return record.update.status
    return record.status


def get_no_members(_record: Record, _reading: ResourceReader) -> dict[str, Any]:
    return {}


def keep_body(record: Record, _outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.body


def merge_body(record: Record, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**record.body, **body}


def keep_parents(record: Record, _body: Mapping[str, Any]) -> tuple[str, ...]:
    return record.parents


@dataclass(frozen=True, kw_only=True)
class Resource:
    """The declaration of one type of resource.

    ``draft`` checks a Create request beyond AWS's service model and returns the record to write. Raises AWS's errors.
    """

    name: str
    """AWS's name: "SolutionVersion", as in CreateSolutionVersion."""
    draft: Callable[[Mapping[str, Any], ResourceReader], Draft]
    lifecycle: Lifecycle | None
    """None for resources that are usable at once and have no status (schemas)."""
    command: type[Command] | None = None
    """Starts the work after Create and Update; None where a process watches for the records itself."""
    choose_command: Callable[[Record], type[Command]] | None = None
    """Returns the command of a record, where the type has several."""
    update: Lifecycle = UPDATE
    blocked_by: tuple[str, ...] = ()
    """Nouns: while any of these exist under the resource, it can't be deleted."""
    busy_with: tuple[str, ...] = ()
    """Nouns: while any of these are in progress under the resource, it can't be deleted."""
    owns: tuple[str, ...] = ()
    """Nouns that are deleted with it."""
    quota: Quota | None = None
    needed_to_list: str | None = None
    """The noun of the parent that List must find. Other types answer an empty list for an unknown parent."""
    hidden: bool = False
    """Clients do not see it: AWS's API has no such type."""
    holds_interactions: bool = False
    """Live events are kept under its ARN."""
    holds_sums: bool = False
    """Sums of events are kept under its ARN."""
    view: Callable[[Record, ResourceReader], dict[str, Any]] = get_no_members
    """Returns further members of Describe, read from other records."""
    apply_outcome: Callable[[Record, Mapping[str, Any]], Mapping[str, Any]] = keep_body
    """Returns the body after the work has succeeded with an outcome."""
    apply_update: Callable[[Record, Mapping[str, Any]], Mapping[str, Any]] = merge_body
    """Returns the body after an update with these members has succeeded."""
    get_parents: Callable[[Record, Mapping[str, Any]], tuple[str, ...]] = keep_parents
    """Returns the parents after an update has changed the body."""

    @cached_property
    def noun(self) -> str:
        """Its folder and its records' kind: "solution_version"."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()

    @cached_property
    def camel(self) -> str:
        """The member of Describe's answer: "solutionVersion"."""
        return self.name[0].lower() + self.name[1:]

    @cached_property
    def arn_member(self) -> str:
        return f"{self.camel}Arn"

    def get_limit(self, draft: Draft, settings: Settings) -> Limit | None:
        """Return the quota for one more record, in the store's terms; None where there is none."""
        most = getattr(settings, self.quota_setting) if self.quota else None
        if self.quota is None or most is None:
            return None
        within = (parent for parent in draft.parents if arns.parse_noun(parent) == self.quota.within)
        return Limit(
            maximum=most, parent=next(within) if self.quota.within else None, in_progress_only=self.quota.pending
        )

    @property
    def quota_setting(self) -> str:
        """The field of Settings: "quota_pending_dataset_import_jobs"."""
        return f"quota_{'pending_' if self.quota and self.quota.pending else ''}{self.noun}s"

    def get_command(self, record: Record) -> type[Command] | None:
        """Return the command that starts the work of this record; None where a process watches for it."""
        return self.choose_command(record) if self.choose_command else self.command


def is_terminal(record: Record) -> bool:
    return record.in_progress is None or record.in_progress in TERMINAL


def create_record(resource: Resource, draft: Draft, now: float, tags: Sequence[Mapping[str, str]] = ()) -> Record:
    """Return the record of a draft. ``now`` is by the store's clock (epoch seconds)."""
    return Record(
        arn=draft.arn,
        kind=resource.noun,
        status=resource.lifecycle.first if resource.lifecycle else None,
        body={member: value for member, value in draft.body.items() if value is not None},
        state={**draft.state, "tags": list(tags)},
        parents=draft.parents,
        claims=draft.claims,
        # Microseconds, above the attempts of earlier resources of this ARN: late reports of their workers are ignored.
        attempt=round(now * 1e6),
        created=now,
        updated=now,
    )


def with_update(resource: Resource, record: Record, body: Mapping[str, Any], now: float) -> Record:
    """Return the record with the beginning of an update to the members ``body``. ``now`` is by the store's clock.

    Raises ResourceInUse.
    """
    if not is_terminal(record):
        raise ResourceInUse(f"{record.arn} is in status {record.in_progress}; it can't be updated now.")
    wanted = {member: value for member, value in body.items() if value is not None}
    new_parents = resource.get_parents(record, resource.apply_update(record, wanted))
    return replace(
        record,
        update=Update(status=resource.update.first, body=wanted, created=now, updated=now),
        # It depends on old and new parents while it updates: none of them may be deleted.
        parents=tuple(dict.fromkeys((*record.parents, *new_parents))),
        # A new attempt: late reports of earlier workers are ignored.
        attempt=record.attempt + 1,
        failures=0,
    )


def _get_last_updated(resource: Resource, record: Record) -> float:
    """Return lastUpdatedDateTime: an update that is shown as the resource's own status counts."""
    if record.update is None or resource.update is not UPDATE_IN_PLACE:
        return record.updated
    return max(record.updated, record.update.updated)


def describe_record(resource: Resource, record: Record, reader: ResourceReader) -> dict[str, Any]:
    """Return all members that AWS's Describe may show; the output model selects from them."""
    return {**summarize_record(resource, record), **resource.view(record, reader)}


def summarize_record(resource: Resource, record: Record) -> dict[str, Any]:
    """Return all members that List may show, none from other records: a page has a hundred resources."""
    members: dict[str, Any] = {
        **record.body,
        resource.arn_member: record.arn,
        "status": get_shown_status(record),
        "creationDateTime": record.created,
        "lastUpdatedDateTime": _get_last_updated(resource, record),
        "failureReason": record.reason if record.status in FAILED_STATUSES else None,
    }
    if record.update is not None:
        members[f"latest{resource.name}Update"] = {
            **record.update.body,
            "status": record.update.status,
            "creationDateTime": record.update.created,
            "lastUpdatedDateTime": record.update.updated,
            "failureReason": record.update.reason,
        }
    return members
