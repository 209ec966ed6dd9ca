"""The store in memory: tests and one-process tools use it instead of Redis."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace as changed

from shared.store import (
    EVENT_ID_SECONDS,
    INVOCATION_SECONDS,
    RECENT_LIMIT,
    SHOWN_SECONDS,
    Conflict,
    Interaction,
    Lease,
    Limit,
    LimitReached,
    NameTaken,
    OutboxEntry,
    PutRecord,
    Record,
    SeenItems,
)
from shared.store.attributions import AttributedEvents
from shared.store.memory_attributions import MemoryAttributions
from shared.store.memory_live_files import MemoryLiveFiles
from shared.store.memory_user_removal import MemoryUserRemoval
from shared.store.record_codec import get_status_in_progress


class MemoryInvalidations:
    """``shared.store.Invalidations`` of a MemoryStore."""

    def __init__(self, families: Collection[str]) -> None:
        self._families = families
        self._keys: set[str] | None = None
        self._lock = threading.Lock()

    def read_changed_keys(self) -> Sequence[str] | None:
        with self._lock:
            keys, self._keys = self._keys, set()
            return None if keys is None else sorted(keys)

    def add_keys(self, keys: Sequence[str]) -> None:
        with self._lock:
            if self._keys is not None:
                self._keys.update(key for key in keys if key.partition(":")[0] in self._families)


class MemoryStore(MemoryLiveFiles, MemoryUserRemoval, MemoryAttributions):
    """A ``shared.store.Store`` behind one lock. ``clock`` stands in for Redis's clock (epoch seconds)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        MemoryLiveFiles.__init__(self)
        MemoryUserRemoval.__init__(self)
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}
        self._claims: dict[str, str] = {}
        #: Id -> time of writing, entry.
        self._outbox: dict[str, tuple[float, OutboxEntry]] = {}
        self._leases: dict[str, tuple[Lease, float]] = {}
        self._locks: dict[str, tuple[str, float]] = {}
        self._heartbeats: dict[str, float] = {}
        self._invocations: dict[str, tuple[str, float]] = {}
        #: Position and event.
        self._streams: dict[str, list[tuple[str, Interaction]]] = defaultdict(list)
        #: Generation, dataset, user -> events.
        self._recent: dict[tuple[int, str, str], list[Interaction]] = defaultdict(list)
        #: Generation, dataset, user -> time of the newest arrival, items.
        self._seen: dict[tuple[int, str, str], tuple[float, SeenItems]] = {}
        self._event_ids: dict[tuple[str, str], float] = {}
        self._shown: dict[tuple[str, str], tuple[str, float]] = {}
        self._put_records: dict[str, dict[str, PutRecord]] = defaultdict(dict)
        self._arrivals: dict[str, float] = {}
        self._puts: dict[str, float] = {}
        self._attributions = {}
        self._entries = itertools.count(1)
        self._subscribers: list[MemoryInvalidations] = []

    def ping(self) -> None:
        return

    def now(self) -> float:
        return self._clock()

    def subscribe_invalidations(self, families: Collection[str]) -> MemoryInvalidations:
        with self._lock:
            self._subscribers.append(MemoryInvalidations(families))
            return self._subscribers[-1]

    def _notify_subscribers(self, *keys: str) -> None:
        for subscriber in self._subscribers:
            subscriber.add_keys(keys)

    # Records

    def get(self, arn: str) -> Record | None:
        return self._records.get(arn)

    def find_claim_holder(self, claim: str) -> str | None:
        return self._claims.get(claim)

    def create(
        self,
        record: Record,
        *,
        invocation: str,
        guards: Sequence[Record] = (),
        limit: Limit | None = None,
        outbox: Sequence[OutboxEntry] = (),
    ) -> str:
        with self._lock:
            if (earlier_arn := self.find_by_invocation(invocation)) is not None:
                return earlier_arn
            self._compare_versions(guards)
            if record.arn in self._records:
                raise NameTaken(record.arn)
            self._compare_claims(record)
            if limit is not None and self._count_records(record.kind, limit) >= limit.maximum:
                raise LimitReached(record.kind)
            self._write_record(record, guards, outbox)
            self._save_invocation(invocation, record)
            return record.arn

    def find_by_invocation(self, invocation: str) -> str | None:
        arn, ends = self._invocations.get(invocation, ("", 0.0))
        return arn if ends > self._clock() else None

    def _save_invocation(self, invocation: str | None, record: Record) -> None:
        if invocation is not None:
            self._invocations[invocation] = (record.arn, self._clock() + INVOCATION_SECONDS)

    def replace(
        self,
        record: Record,
        *,
        invocation: str | None = None,
        guards: Sequence[Record] = (),
        outbox: Sequence[OutboxEntry] = (),
        completed_entry: str | None = None,
    ) -> None:
        with self._lock:
            if invocation is not None and self.find_by_invocation(invocation) is not None:
                return
            self._compare_versions([record, *guards])
            self._write_record(record, guards, outbox)
            self._save_invocation(invocation, record)
            if completed_entry is not None:
                self._outbox.pop(completed_entry, None)

    def remove(self, record: Record, *, invocation: str | None = None) -> None:
        with self._lock:
            if invocation is not None and self.find_by_invocation(invocation) is not None:
                return
            self._compare_versions([record])
            self._save_invocation(invocation, record)
            del self._records[record.arn]
            self._leases.pop(record.arn, None)
            for claim in record.claims:
                self._claims.pop(claim, None)
            self._notify_subscribers(f"record:{record.arn}", *(f"claim:{claim}" for claim in record.claims))

    def _compare_versions(self, read: Sequence[Record]) -> None:
        for record in read:
            standing = self._records.get(record.arn)
            if standing is None or standing.version != record.version:
                raise Conflict(record.arn)

    def _compare_claims(self, record: Record) -> None:
        for claim in record.claims:
            if self._claims.get(claim, record.arn) != record.arn:
                raise NameTaken(self._claims[claim])

    def _count_records(self, kind: str, limit: Limit) -> int:
        return sum(
            record.kind == kind
            and (limit.parent is None or limit.parent in record.parents)
            and not (limit.in_progress_only and record.in_progress is None)
            for record in self._records.values()
        )

    def _write_record(self, record: Record, guards: Sequence[Record], outbox: Sequence[OutboxEntry]) -> None:
        self._compare_claims(record)
        self._claims.update(dict.fromkeys(record.claims, record.arn))
        for guard in guards:
            self._raise_version(guard.arn)
        in_progress = get_status_in_progress(record) or None
        self._records[record.arn] = changed(record, version=record.version + 1, in_progress=in_progress)
        self._notify_subscribers(f"record:{record.arn}", *(f"claim:{claim}" for claim in record.claims))
        if in_progress is None:
            self._leases.pop(record.arn, None)
        self._outbox.update({entry.id: (self._clock(), entry) for entry in outbox})

    def _raise_version(self, arn: str, *, attempts: int = 0, failures: int = 0) -> Record:
        record = self._records[arn]
        self._records[arn] = changed(
            record,
            version=record.version + 1,
            attempt=record.attempt + attempts,
            failures=record.failures + failures,
        )
        self._notify_subscribers(f"record:{arn}")
        return self._records[arn]

    def list_page(
        self,
        kind: str,
        parent: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        whole: bool = False,  # noqa: ARG002 - every record can be read
    ) -> tuple[list[Record], str | None]:
        with self._lock:
            listed = [
                record
                for record in self._records.values()
                if record.kind == kind and (parent is None or parent in record.parents)
            ]
        listed.sort(key=_get_position, reverse=True)
        if after is not None:
            at, _, arn = after.partition("|")
            listed = [record for record in listed if _get_position(record) < (float(at), arn)]
        rows = listed[:limit]
        more = f"{rows[-1].created!r}|{rows[-1].arn}" if len(listed) > limit else None
        return rows, more

    def list_in_progress(self) -> list[str]:
        with self._lock:
            return [record.arn for record in self._records.values() if record.in_progress]

    def list_outbox(self, older_than: float = 0.0) -> list[OutboxEntry]:
        with self._lock:
            waiting = [(at, entry) for at, entry in self._outbox.values() if at <= self._clock() - older_than]
        return [entry for _, entry in sorted(waiting, key=lambda one: one[0])]

    def add_to_outbox(self, entry: OutboxEntry) -> None:
        with self._lock:
            self._outbox[entry.id] = (self._clock(), entry)

    def remove_from_outbox(self, entry_id: str) -> None:
        with self._lock:
            self._outbox.pop(entry_id, None)

    # Leases

    def claim_lease(self, arn: str, worker: str, statuses: frozenset[str], seconds: float) -> Lease | None:
        with self._lock:
            record = self._records.get(arn)
            if record is None or record.in_progress not in statuses:
                return None
            held = self._leases.get(arn)
            if held and held[1] > self._clock():
                return None
            record = self._raise_version(arn, attempts=1, failures=1 if held else 0)
            lease = Lease(arn=arn, worker=worker, attempt=record.attempt, seconds_left=seconds)
            self._leases[arn] = (lease, self._clock() + seconds)
            return lease

    def renew_lease(self, lease: Lease, seconds: float) -> str | None:
        with self._lock:
            if not self._holds_lease(lease):
                return None
            self._leases[lease.arn] = (lease, self._clock() + seconds)
            return self._records[lease.arn].in_progress or ""

    def release_lease(self, lease: Lease, *, failed: bool) -> None:
        with self._lock:
            if self._holds_lease(lease):
                del self._leases[lease.arn]
                if failed:
                    self._raise_version(lease.arn, failures=1)

    def _holds_lease(self, lease: Lease) -> bool:
        held = self._leases.get(lease.arn)
        return held is not None and (held[0].worker, held[0].attempt) == (lease.worker, lease.attempt)

    def get_lease(self, arn: str) -> Lease | None:
        with self._lock:
            held = self._leases.get(arn)
            return changed(held[0], seconds_left=held[1] - self._clock()) if held else None

    def acquire_lock(self, name: str, owner: str, seconds: float) -> bool:
        with self._lock:
            holder, ends = self._locks.get(name, (owner, 0.0))
            if holder != owner and ends > self._clock():
                return False
            self._locks[name] = (owner, self._clock() + seconds)
            return True

    def send_heartbeat(self, process: str, seconds: float) -> None:
        with self._lock:
            self._heartbeats[process] = self._clock() + seconds

    def list_live_processes(self) -> list[str]:
        with self._lock:
            return sorted(process for process, ends in self._heartbeats.items() if ends > self._clock())

    # Interactions

    def append_interactions(
        self,
        dataset: str,
        interactions: Sequence[Interaction],
        *,
        invocation: str,
        attributed: AttributedEvents | None = None,
    ) -> int:
        with self._lock:
            if self._invocations.get(invocation, ("", 0.0))[1] > self._clock():
                return 0
            places = [place for place, one in enumerate(interactions) if self._is_new(dataset, one)]
            new = [interactions[place] for place in places]
            if attributed is not None:
                queued = (attributed.events[place] for place in places)
                self._queue_events(attributed.attribution, [one for one in queued if one is not None])
            self._streams[dataset] += [(self._create_position(), one) for one in new]
            if new:
                self._arrivals[dataset] = self._clock()
            for one in new:
                generation = self._get_generation(dataset)
                recent = self._recent[generation, dataset, one.user_id]
                recent.append(one)
                del recent[:-RECENT_LIMIT]
                self._add_seen_item((generation, dataset, one.user_id), one)
                self._notify_subscribers(f"recent:{dataset}:{one.user_id}")
            self._invocations[invocation] = (dataset, self._clock() + INVOCATION_SECONDS)
            return len(new)

    def _is_new(self, dataset: str, one: Interaction) -> bool:
        if one.event_id is None:
            return True
        known = self._event_ids.get((dataset, one.event_id), 0.0) > self._clock()
        if not known:
            self._event_ids[dataset, one.event_id] = self._clock() + EVENT_ID_SECONDS
        return not known

    def iter_interactions(self, dataset: str) -> Iterator[Interaction]:
        with self._lock:
            kept = list(self._streams.get(dataset, ()))
        yield from (one for _, one in kept)

    def get_last_arrival(self, dataset: str) -> float:
        with self._lock:
            return self._arrivals.get(dataset, 0.0)

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        with self._lock:
            self._shown[dataset, recommendation_id] = (impression, self._clock() + SHOWN_SECONDS)

    def get_impressions(self, dataset: str, recommendation_ids: Sequence[str]) -> Mapping[str, str]:
        with self._lock:
            found = {each: self._shown.get((dataset, each), ("", 0.0)) for each in recommendation_ids}
            return {each: impression for each, (impression, ends) in found.items() if ends > self._clock()}

    def clear_dataset(self, dataset: str) -> None:
        with self._lock:
            self._notify_subscribers(*(f"recent:{of}:{user_id}" for _, of, user_id in self._recent if of == dataset))
            self._arrivals.pop(dataset, None)
            self._streams.pop(dataset, None)
            self._live.pop(dataset, None)
            self._recent = defaultdict(list, {k: v for k, v in self._recent.items() if k[1] != dataset})
            self._event_ids = {k: v for k, v in self._event_ids.items() if k[0] != dataset}
            self._seen = {k: v for k, v in self._seen.items() if k[1] != dataset}
            self._shown = {k: v for k, v in self._shown.items() if k[0] != dataset}
            self._put_records.pop(dataset, None)
            self._puts.pop(dataset, None)

    # Put records

    def save_put_records(self, dataset: str, records: Sequence[PutRecord], *, invocation: str) -> None:
        with self._lock:
            if self._invocations.get(invocation, ("", 0.0))[1] > self._clock():
                return
            self._put_records[dataset].update({one.id: one for one in records})
            self._puts[dataset] = self._clock()
            self._invocations[invocation] = (dataset, self._clock() + INVOCATION_SECONDS)

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        with self._lock:
            kept = sorted(self._put_records.get(dataset, {}).items())
        yield from (one for _, one in kept)

    def get_last_put(self, dataset: str) -> float:
        with self._lock:
            return self._puts.get(dataset, 0.0)


def _get_position(record: Record) -> tuple[float, str]:
    return record.created, record.arn
