"""The store's protocols: records, leases, live events. ``redis.py`` and its in-memory twin ``memory.py`` keep them.

Every change is one atomic step and safe to repeat. Changes compare versions: a writer reads a record, decides, and
writes with the version it read; ``Conflict`` sends it back to reading. Guards extend the comparison to other records
(the parents of the new record), and raise their version, so that a parent can't be deleted while a child is created.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.aws.errors import ServiceUnavailable
from shared.state.messages import Message
from shared.store.attributions import AttributedEvents, Attributions
from shared.store.live_files import ByGeneration, LiveFiles
from shared.store.user_removal import UserRemoval

SeenItems = Mapping[str, Mapping[str, float]]
"""Event type, in lower case -> item -> time (epoch seconds)."""


class NameTaken(Exception):
    """A record or a claimed name exists already; ``arn`` is the ARN of the record that holds it."""

    def __init__(self, arn: str) -> None:
        super().__init__(arn)
        self.arn = arn


class LimitReached(Exception):
    """The limit of records of one kind is reached already."""


class Conflict(Exception):
    """A record has changed since it was read: read it again and decide again."""


class UnreadableRecord(ServiceUnavailable):
    """A record that this release can't read, since another one wrote it. The message is fit for clients."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"This release of foretaste can't read the record of {arn}: another one has written it.")
        self.arn = arn


class NoSpace(ServiceUnavailable):
    """The store refused a write, or may have lost it, because its disk or memory is full."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"There is no space left for writes in the store: {reason}. Reads go on.")


@dataclass(frozen=True, kw_only=True)
class Update:
    """A change that is being made to a resource, which works unchanged until it is done (UpdateCampaign)."""

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

    ``body`` holds AWS's members as Describe answers them; ``state`` holds foretaste's own members.
    ``parents`` are the ARNs under which it is listed, ``claims`` further names that no other record may take.
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

    #: Every change of the record raises it; 0 for a record that was never written.
    version: int = 0
    #: Fences off the reports of earlier workers: every claim of the work raises it.
    attempt: int = 0
    #: How many attempts ended without a report.
    failures: int = 0
    #: The status in progress: the update's while one is under way, else the record's own; None in a terminal status.
    in_progress: str | None = None
    #: Members that another release has written: kept as they are.
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many records of the new one's kind may exist, itself included: in all, or listed under ``parent``."""

    maximum: int
    parent: str | None = None
    in_progress_only: bool = False
    """Count only the records with work in progress."""


@dataclass(frozen=True, kw_only=True)
class OutboxEntry:
    """A message in the outbox: kept from the write that caused it until the message has been sent or applied."""

    id: str
    message: Message


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right of a worker to work on ``arn`` under an attempt, for so many seconds (by the store's own clock)."""

    arn: str
    worker: str
    attempt: int
    seconds_left: float


class Records(Protocol):
    """Records, indexes and the outbox."""

    def get(self, arn: str) -> Record | None:
        """Return a record, None where there is none. Raises UnreadableRecord."""
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
        """Write a new record; return its ARN, or the ARN that an earlier try of the same invocation made.

        Counting and writing are one step: creates that race can't pass the limit together.
        Raises NameTaken, LimitReached, or Conflict when a guard has changed.
        """
        ...

    def find_by_invocation(self, invocation: str) -> str | None:
        """Return the ARN that an invocation has written, None where it wrote nothing in the last INVOCATION_SECONDS."""
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
        """Write a record that was read before, and take ``completed_entry`` out of the outbox. Raises Conflict.

        An ``invocation`` is remembered in the same step; a second try of it writes nothing.
        A record that reaches a terminal status loses its lease in the same step.
        """
        ...

    def find_claim_holder(self, claim: str) -> str | None:
        """Return the ARN of the record that holds a claimed name."""
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
        """Return a page of a kind's records, newest first, and the position to go on ``after`` (None: the last page).

        Records that this release can't read are left out, logged and counted; ``whole`` raises Unreadable instead.
        """
        ...

    def list_in_progress(self) -> list[str]:
        """Return the ARNs of the records with work in progress."""
        ...

    def list_outbox(self, older_than: float = 0.0) -> list[OutboxEntry]:
        """Return the entries that have waited in the outbox for longer than so many seconds, oldest first.

        Entries that this release can't read are left out, logged and counted, and stay there.
        """
        ...

    def add_to_outbox(self, entry: OutboxEntry) -> None:
        """Add an entry with no change of a record."""
        ...

    def remove_from_outbox(self, entry_id: str) -> None:
        """Remove an entry; one that is gone already is no error."""
        ...


class Leases(Protocol):
    """Leases, locks and heartbeats. Times are by the store's clock, so that a worker's wrong clock does no harm."""

    def claim_lease(self, arn: str, worker: str, statuses: frozenset[str], seconds: float) -> Lease | None:
        """Claim the work on a record; None when its status in progress is not in ``statuses``, or a lease is held."""
        ...

    def renew_lease(self, lease: Lease, seconds: float) -> str | None:
        """Extend the lease; return the record's status in progress, None when the lease is lost.

        A record that reaches a terminal status loses its lease.
        """
        ...

    def release_lease(self, lease: Lease, *, failed: bool) -> None:
        """End the lease; ``failed`` counts an attempt that ended without a report."""
        ...

    def get_lease(self, arn: str) -> Lease | None:
        """Return the lease on ``arn``, expired (seconds_left <= 0) or not."""
        ...

    def acquire_lock(self, name: str, owner: str, seconds: float) -> bool:
        """Take or keep a lock, which expires after so many seconds. False when another owner has it."""
        ...

    def send_heartbeat(self, process: str, seconds: float) -> None:
        """Count ``process`` ("training@host:pid") among the live processes for so many seconds."""
        ...

    def list_live_processes(self) -> list[str]:
        """Return the processes with a heartbeat that has not expired, sorted."""
        ...


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

    def append_interactions(
        self,
        dataset: str,
        interactions: Sequence[Interaction],
        *,
        invocation: str,
        attributed: AttributedEvents | None = None,
    ) -> int:
        """Save the events; return how many were new (a repeated invocation or event id is saved once).

        In the same step the new ones are queued for a metric attribution.
        """
        ...

    def get_recent_interactions(self, dataset: str, user_id: str) -> ByGeneration[list[Interaction]]:
        """Return the user's newest events that are in no file, in the order of arrival.

        At most RECENT_LIMIT of each generation. ``shared.serving.live_events`` adds those of the files.
        """
        ...

    def get_seen_items(self, dataset: str, user_id: str) -> ByGeneration[SeenItems]:
        """Return event type, in lower case -> item -> time of the user's last live event with it (epoch seconds).

        Of the events that are in no file, and of each generation and type the SEEN_LIMIT newest items. A user without
        an event for SEEN_SECONDS has none.
        """
        ...

    def iter_interactions(self, dataset: str) -> Iterator[Interaction]:
        """Yield the events that no compaction has moved to a file yet, in the order of their arrival.

        ``shared.data.live_events.iter_live_events`` yields those of the files too.
        """
        ...

    def get_last_arrival(self, dataset: str) -> float:
        """Return when the newest event arrived, by the store's clock (epoch seconds); 0.0 where there is none."""
        ...

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        """Save the list of a recommendation for SHOWN_SECONDS, for the events that will name it.

        Does not wait for the answer: the impression may be lost.
        """
        ...

    def get_impressions(self, dataset: str, recommendation_ids: Sequence[str]) -> Mapping[str, str]:
        """Return recommendation id -> impression, of the recommendations that are known."""
        ...

    def clear_dataset(self, dataset: str) -> None:
        """Remove all events of the dataset, and its put records."""
        ...


@dataclass(frozen=True, kw_only=True)
class PutRecord:
    """An item, a user or an action that PutItems, PutUsers or PutActions sent: ``properties`` holds its columns by
    their schema names, except for the id. ``at`` is the time of the call (epoch seconds).
    """

    id: str
    properties: Mapping[str, Any]
    at: float


class PutRecords(Protocol):
    """Records that PutItems, PutUsers and PutActions have sent: the newest of each id."""

    def save_put_records(self, dataset: str, records: Sequence[PutRecord], *, invocation: str) -> None:
        """Save the records; each replaces an earlier one of its id (a repeated invocation changes nothing)."""
        ...

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        """Yield all of them, ordered by id."""
        ...

    def get_last_put(self, dataset: str) -> float:
        """Return when the newest record was put, by the store's clock (epoch seconds); 0.0 where there is none."""
        ...


#: Live events per user that are saved for serving.
RECENT_LIMIT = 200
#: Items of each event type that filters know of a user's live events. AWS: 100 interactions, 300 of actions.
SEEN_LIMIT = 300
#: AWS forgets users without an event for three months.
SEEN_SECONDS = 90 * 24 * 3600
#: Events that name a recommendation usually come while its list is on the screen. A list of 25 takes about 400 bytes:
#: at a hundred requests a second an hour (in seconds) is 150 MB.
SHOWN_SECONDS = 3600
#: How long an invocation is remembered (seconds): longer than any SDK goes on retrying.
INVOCATION_SECONDS = 600
#: How long a client's own event id is remembered (seconds): 30 days.
EVENT_ID_SECONDS = 30 * 24 * 3600


class Invalidations(Protocol):
    """The stream of changes in a store, for a cache of it. Not safe to share between threads."""

    def read_changed_keys(self) -> Sequence[str] | None:
        """Return the keys written since the last call, without waiting: "record:<ARN>", "claim:<name>", and
        "recent:<dataset>:<user>" for the answers of ``get_recent_interactions`` and ``get_seen_items`` for a user.

        None: everything may have changed, as at the first call. A write that was acknowledged half a second ago is
        among the keys, or this raises the backend's connection error.
        """
        ...


class Store(Records, Leases, Interactions, LiveFiles, PutRecords, UserRemoval, Attributions, Protocol):
    """The whole store."""

    def now(self) -> float:
        """Return epoch seconds by the store's clock. All ages are counted by it: clocks of processes may be wrong."""
        ...

    def ping(self) -> None:
        """Raise the backend's connection error when the store can't be reached."""
        ...

    def subscribe_invalidations(self, families: Collection[str]) -> Invalidations:
        """Follow the changes of the key families named: "record", "claim", "recent"."""
        ...
