"""Where records live: the contract that Redis (``redis.py``) and its in-memory twin (``memory.py``) both keep.

Every change is one atomic step and safe to repeat. Changes compare versions: a writer reads a record, decides, and
writes with the version it read; ``Conflict`` sends it back to reading. Guards extend the comparison to other records
(the parents of what is created), and raise their version, so that a parent can't be deleted beside a birth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.aws.errors import ServiceUnavailable
from shared.state.messages import Message


class NameTaken(Exception):
    """A record or a claimed name exists already; ``arn`` is its holder's."""

    def __init__(self, arn: str) -> None:
        super().__init__(arn)
        self.arn = arn


class LimitReached(Exception):
    """As many records as may stand at once stand already."""


class Conflict(Exception):
    """A record changed since it was read: read again and decide again."""


class UnreadableRecord(ServiceUnavailable):
    """A record that this release can't read, since another one wrote it. Its client may be told so."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"This release of foretaste can't read the record of {arn}: another one has written it.")
        self.arn = arn


class NoSpace(ServiceUnavailable):
    """A write that was refused, or may not be kept, for want of room in the store."""

    def __init__(self, why: str) -> None:
        super().__init__(f"There is no space left for writes in the store: {why}. Reads go on.")


@dataclass(frozen=True, kw_only=True)
class Update:
    """A change that is being made to a resource which goes on as it is meanwhile (UpdateCampaign)."""

    status: str
    body: Mapping[str, Any]
    created: float
    updated: float
    reason: str | None = None
    #: Members that another release has written: kept as they are.
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One resource. Times are epoch seconds by the store's clock.

    ``body`` holds AWS's members as Describe answers them; ``state`` what foretaste alone must know of it.
    ``parents`` are the ARNs under which it is listed, ``claims`` further names that nobody else may take.
    """

    arn: str
    kind: str
    created: float
    updated: float
    status: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    update: Update | None = None
    reason: str | None = None
    parents: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()

    #: Raised by every change of the record; 0 for one that was never written.
    version: int = 0
    #: Fences off the reports of earlier workers: raised whenever somebody takes the work up.
    attempt: int = 0
    #: How many attempts died without a word.
    failures: int = 0
    #: The status in motion: the update's while one is under way, else the record's own; None when settled.
    in_progress: str | None = None
    #: Members that another release has written: kept as they are.
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many records of the new one's kind may stand, itself included: at all, or listed under ``parent``."""

    maximum: int
    parent: str | None = None
    in_progress_only: bool = False
    """Count only those that have not settled."""


@dataclass(frozen=True, kw_only=True)
class OutboxEntry:
    """A message in the outbox: kept from the write that caused it until it is known to have been sent or applied."""

    id: str
    message: Message


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who works on ``arn``, under which attempt, until when (by the store's own clock)."""

    arn: str
    worker: str
    attempt: int
    seconds_left: float


class Records(Protocol):
    """Records, indexes and the outbox."""

    def get(self, arn: str) -> Record | None:
        """Raises Unreadable."""
        ...

    def create(
        self,
        record: Record,
        *,
        invocation: str,
        guards: Sequence[Record] = (),
        limit: Limit | None = None,
        outbox: Sequence[OutboxEntry] = (),
    ) -> str:
        """Write a new record; returns its ARN, or the ARN that an earlier try of the same invocation made.

        Counting and writing are one step: creates that race can't pass the limit together.
        Raises NameTaken, LimitReached, or Conflict when a guard has changed.
        """
        ...

    def find_by_invocation(self, invocation: str) -> str | None:
        """The ARN of the record that an invocation has written; None: it has written nothing, of late."""
        ...

    def replace(
        self,
        record: Record,
        *,
        invocation: str | None = None,
        guards: Sequence[Record] = (),
        outbox: Sequence[OutboxEntry] = (),
        completed_entry: str | None = None,
    ) -> None:
        """Write a record that was read before, and take the note ``done`` out of the outbox. Raises Conflict.

        An ``invocation`` is remembered in the same step; a second try of it writes nothing.
        A record that settles loses its lease in the same step.
        """
        ...

    def find_claim_holder(self, claim: str) -> str | None:
        """The ARN of the record that holds a further name."""
        ...

    def remove(self, record: Record, *, invocation: str | None = None) -> None:
        """Remove a record with its indexes, claims and lease; ``invocation`` as for ``replace``. Raises Conflict."""
        ...

    def list_page(
        self,
        kind: str,
        parent: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        whole: bool = False,
    ) -> tuple[list[Record], str | None]:
        """A page of a kind's records, newest first, and the position to go on ``after`` (None: the last page).

        What this release can't read is left out, said and counted; ``whole`` raises Unreadable instead.
        """
        ...

    def list_in_progress(self) -> list[str]:
        """ARNs of the records whose status is not settled."""
        ...

    def list_outbox(self, older_than: float = 0.0) -> list[OutboxEntry]:
        """Messages that have waited in the outbox for longer than so many seconds, oldest first.

        What this release can't read is left out, said and counted, and stays there.
        """
        ...

    def add_to_outbox(self, entry: OutboxEntry) -> None: ...

    def remove_from_outbox(self, entry_id: str) -> None: ...


class Leases(Protocol):
    """Who works on what. Times by the store's clock, so that a worker's wrong clock does no harm."""

    def claim_lease(self, arn: str, worker: str, statuses: frozenset[str], seconds: float) -> Lease | None:
        """Take the work up: None when the record moves through none of ``statuses`` or somebody has it."""
        ...

    def renew_lease(self, lease: Lease, seconds: float) -> str | None:
        """Keep the work; returns the record's moving status, None when the lease is lost: what settles has none."""
        ...

    def release_lease(self, lease: Lease, *, failed: bool) -> None:
        """Give the work back; ``failed`` counts an attempt that died."""
        ...

    def get_lease(self, arn: str) -> Lease | None:
        """The lease on ``arn``, expired (seconds_left <= 0) or not."""
        ...

    def acquire_lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or keep a lock that passes on when its owner is silent."""
        ...

    def send_heartbeat(self, process: str, seconds: float) -> None:
        """Say that ``process`` ("training@host:pid") is alive for so many seconds."""
        ...

    def list_live_processes(self) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """A live event. ``sent_at`` is epoch seconds; ``event_id`` the client's own, if it gave one; ``properties`` the
    event's further columns by their schema names. ``item_id`` is the action's in an Action_Interactions dataset.
    """

    user_id: str
    session_id: str
    item_id: str | None
    event_type: str
    event_value: float | None
    sent_at: float
    event_id: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)


class Interactions(Protocol):
    """Live events of a dataset: a stream for training, and each user's newest for serving."""

    def append_interactions(self, dataset: str, interactions: Sequence[Interaction], *, invocation: str) -> int:
        """Keep the events; returns how many were new (a repeated invocation or event id is kept once)."""
        ...

    def get_recent_interactions(self, dataset: str, user_id: str) -> list[Interaction]:
        """The user's newest events, as they arrived; at most RECENT of them."""
        ...

    def get_seen_items(self, dataset: str, user_id: str) -> Mapping[str, Mapping[str, float]]:
        """Event type, in lower case -> item -> when the user last did that with it (epoch seconds), of live events.

        Of each type the SEEN newest items are known; a user who was silent for SEEN_SECONDS has none.
        """
        ...

    def iter_interactions(self, dataset: str) -> Iterator[Interaction]:
        """All kept events in the order of their arrival."""
        ...

    def get_last_arrival(self, dataset: str) -> float:
        """When the newest kept event arrived, by the store's clock (epoch seconds); 0.0: there is none."""
        ...

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        """Keep what a recommendation lists, for the events that will name it, for SHOWN_SECONDS.

        Nobody waits until it is kept: it may be lost.
        """
        ...

    def get_impressions(self, dataset: str, recommendation_ids: Sequence[str]) -> Mapping[str, str]:
        """Recommendation -> what was given to ``show``, of those that are known."""
        ...

    def clear_dataset(self, dataset: str) -> None:
        """Remove everything kept for the dataset, put records too."""
        ...


@dataclass(frozen=True, kw_only=True)
class PutRecord:
    """An item, a user or an action that was sent by itself: ``properties`` holds its columns by their schema names,
    but for the id. ``at`` is when it was sent, in epoch seconds.
    """

    id: str
    properties: Mapping[str, Any]
    at: float


class PutRecords(Protocol):
    """What PutItems, PutUsers and PutActions have sent: the newest record of each id."""

    def save_put_records(self, dataset: str, records: Sequence[PutRecord], *, invocation: str) -> None:
        """Keep the records, each in the place of an earlier one of its id (a repeated invocation changes nothing)."""
        ...

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        """All of them, by id."""
        ...

    def get_last_put(self, dataset: str) -> float:
        """When the newest of them was put, by the store's clock (epoch seconds); 0.0: there is none."""
        ...


#: How many live events per user are kept for serving.
RECENT_LIMIT = 200
#: What filters know of a user's live events: so many items of each event type. AWS: 100 interactions, 300 of actions.
SEEN_LIMIT = 300
#: AWS forgets users of whom nothing has come for three months.
SEEN_SECONDS = 90 * 24 * 3600
#: Events that name a recommendation come while its list is looked at, in general. A list of 25 takes about 400 bytes:
#: at a hundred requests a second an hour (in seconds) is 150 MB.
SHOWN_SECONDS = 3600
#: An invocation is remembered for so long (seconds): longer than any SDK goes on retrying.
INVOCATION_SECONDS = 600
#: A client's own event id is remembered for so long (seconds): 30 days.
EVENT_ID_SECONDS = 30 * 24 * 3600


class Invalidations(Protocol):
    """What was written to a store, for whoever remembers what it said. Not to be shared between threads."""

    def read_changed_keys(self) -> Sequence[str] | None:
        """What was written since this was asked last, without waiting for more: "record:<ARN>", "claim:<name>", and
        "recent:<dataset>:<user>" for what ``recent`` and ``seen`` tell of a user.

        None: whatever was read before may have changed, as when it is asked for the first time. A write that was
        acknowledged half a second ago is told of, or this raises the backend's connection error.
        """
        ...


class Store(Records, Leases, Interactions, PutRecords, Protocol):
    """All of it."""

    def now(self) -> float:
        """Epoch seconds by the store's own clock, which all ages are counted by: clocks of processes may be wrong."""
        ...

    def ping(self) -> None:
        """Raises the backend's connection error when the store can't be reached."""
        ...

    def subscribe_invalidations(self, families: Collection[str]) -> Invalidations:
        """Of what begins with "record", "claim" or "recent", as ``families`` say."""
        ...
