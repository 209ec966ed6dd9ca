"""The store in Redis (or Valkey). Keys, all under the prefix ``foretaste:``:

    full:<disk or memory>     string: the reason why writes for clients are refused, expiring
    format                    hash: the format's number, and the release that stamped it
    record:<arn>              hash: document (JSON), version, attempt, failures, moving
    index:<kind>              sorted set of ARNs by creation time, for lists
    index:<kind>:<parent>     the same for one parent
    claim:<name>              string: the ARN of the record that holds a claimed name
    moving                    sorted set of ARNs with work in progress, by the time since when
    notes, outbox             the outbox: hash of messages by id; sorted set of their ids by the time of writing
                              (by Redis's clock, as all times that ages are counted by)
    lease:<arn>               hash: worker, attempt, ends (ms by Redis's clock; stays when expired, until released)
    lock:<name>               string: its owner, expiring
    beat:<process>            string, expiring
    invocation:<id>           string: the ARN made (or the dataset written) by that SDK call, expiring
    stream:<dataset>          stream of live events that are in no file yet
    live_files:<dataset>      list of the files (JSON) with the earlier live events, in the order of arrival
    live_old:<dataset>        sorted set of the names of files that were replaced, by the time since when
    live:<dataset>            hash: writer (who may change the list of files), generation (of the recent events that
                              come now), oldest (the oldest generation whose events are in no file), cut (the position
                              of the last event of the generation before, while a compaction is under way)
    live_unswept:<dataset>    set of the generations that are in files and have recent events left
    generations               counter: the newest generation of all datasets
    recent:<owner>:<user>     list of the user's newest events. The owner is <generation, ten digits>:<dataset>, and for
                              generation 0, of releases without generations, <dataset>
    seen:<owner>:<user>       set of the types of the user's live events, in lower case, expiring
    seen:<owner>:<length of user>:<user>:<type>
                              sorted set of the items of those events, by the time of the newest, expiring
    put:<dataset>             hash of put records by id
    put_at:<dataset>          string: when the newest of them was put (epoch seconds)
    event:<dataset>:<id>      string: marks a client's own event id that has arrived, expiring
    purges:<process>          string: the deletions of users that the process has followed (JSON), expiring
    shown:<dataset>:<id>      string: the items of that recommendation, ids with bars between them, expiring

The keys of metric attributions are in ``redis_attributions.py``.

Changes of several keys are scripts (``lua/``). Each compares before it writes, so that a command which redis-py
sends again after a lost reply changes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.state.lifecycle import DELETE_PENDING
from shared.store import (
    EVENT_ID_SECONDS,
    INVOCATION_SECONDS,
    RECENT_LIMIT,
    SEEN_LIMIT,
    SEEN_SECONDS,
    SHOWN_SECONDS,
    Conflict,
    Interaction,
    Lease,
    Limit,
    LimitReached,
    NameTaken,
    NoSpace,
    OutboxEntry,
    PutRecord,
    Record,
    data_format,
    record_codec,
)
from shared.store.attributions import AttributedEvents
from shared.store.invalidation import RedisInvalidations
from shared.store.positions import get_arrival
from shared.store.quarantine import Quarantine
from shared.store.redis_attributions import PREFIX, RedisAttributions, list_attributed_texts
from shared.store.redis_live_files import ANY_GENERATION, RedisLiveFiles
from shared.store.redis_user_removal import RedisUserRemoval

LUA = Path(__file__).parent / "lua"
#: How long writes stay refused (seconds). The guards of disk and memory repeat it; if they die, writes go on.
FULL_SECONDS = 10

#: The families with one key for each dataset.
_WHOLE_FAMILIES = ("stream", "live", "live_files", "live_old", "live_unswept", "put", "put_at")

S = TypeVar("S")
FullResource = Literal["disk", "memory"]
T = TypeVar("T")

#: Counts unreadable entries of this process. They may be repaired at any time, so that each is tried at every read.
_unreadable = Quarantine("store", longest_pause=0.0)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Timeouts of a command, and how often it is sent again after which errors."""

    answer_seconds: float
    connect_seconds: float
    retries: int
    retry_on: tuple[type[redis.RedisError], ...]


#: For background work. The embedded server is back in well under a second after a crash: commands outlast that.
PATIENT = RetryPolicy(
    answer_seconds=5.0, connect_seconds=2.0, retries=6, retry_on=(redis.ConnectionError, redis.TimeoutError)
)
#: For callers with a cached answer. A restarted server has closed the old connections: one retry reaches it.
PROMPT = RetryPolicy(answer_seconds=0.4, connect_seconds=0.4, retries=1, retry_on=(redis.ConnectionError,))


class RedisStore(RedisLiveFiles, RedisUserRemoval, RedisAttributions):
    """A ``shared.store.Store`` with one connection pool; safe to share between threads, not across a fork.

    Every method raises NewerRedis where a newer release has written the data.
    """

    _prefix = PREFIX

    def __init__(self, url: str, policy: RetryPolicy = PATIENT, *, for_clients: bool = False) -> None:
        """With ``for_clients`` its writes are requests of clients, which get an acknowledgement. Such writes raise
        NoSpace while the disk or memory of Redis is nearly full, and when Redis could not write them to its disk.
        """
        self._url, self._policy, self._for_clients = url, policy, for_clients
        waits = {"socket_timeout": policy.answer_seconds, "socket_connect_timeout": policy.connect_seconds}
        self._redis: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            **waits,
            redis_connect_func=data_format.create_connect_hook(url, **waits),
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), policy.retries, policy.retry_on),
        )
        self._scripts = {path.stem: self._redis.register_script(path.read_text()) for path in LUA.glob("*.lua")}

    def ping(self) -> None:
        # Not PING: a Redis that can't write refuses it like a write. For the same reason the client has no health
        # checks: a command on a closed connection fails, and is sent again.
        self._redis.exists(data_format.KEY)

    def now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def subscribe_invalidations(self, families: Collection[str]) -> RedisInvalidations:
        pool = redis.ConnectionPool.from_url(
            self._url,
            protocol=3,
            decode_responses=True,
            socket_timeout=self._policy.answer_seconds,
            socket_connect_timeout=self._policy.connect_seconds,
        )
        return RedisInvalidations(pool, PREFIX, families)

    def refuse_writes(self, resource: FullResource, reason: str) -> None:
        """Refuse writes for clients for FULL_SECONDS from now."""
        self._redis.set(f"{PREFIX}full:{resource}", reason, ex=FULL_SECONDS)

    def accept_writes(self, resource: FullResource) -> None:
        self._redis.delete(f"{PREFIX}full:{resource}")

    def _run_script(self, script: str, arguments: Mapping[str, Any]) -> Any:
        """Run one of the scripts that may write for clients. Raises NoSpace."""
        given = {**arguments, "for_clients": True} if self._for_clients else arguments
        answer = self._scripts[script](args=[orjson.dumps(given)])
        if not self._for_clients:
            return answer
        if isinstance(answer, list) and answer[0] == "no space":
            raise NoSpace(answer[1])
        self._check_persistence()
        return answer

    def _check_persistence(self) -> None:
        """Raise NoSpace after a lost write: a Redis that can't write acknowledges one more, and refuses the next."""
        try:
            persistence = self._redis.info("persistence")
        except redis.exceptions.NoPermissionError:  # managed servers hide this, and guard their disk themselves
            return
        if persistence.get("aof_last_write_status", "ok") != "ok":
            raise NoSpace("its disk did not take all of the last write")

    # Records

    def get(self, arn: str) -> Record | None:
        fields = self._redis.hgetall(f"{PREFIX}record:{arn}")
        return record_codec.read_record(arn, fields) if fields else None

    def find_claim_holder(self, claim: str) -> str | None:
        arn = self._redis.get(f"{PREFIX}claim:{claim}")
        return None if arn is None else str(arn)

    def create(
        self,
        record: Record,
        *,
        invocation: str,
        guards: Sequence[Record] = (),
        limit: Limit | None = None,
        outbox: Sequence[OutboxEntry] = (),
    ) -> str:
        return self._write_record(
            record,
            expect="",
            guards=guards,
            outbox=outbox,
            invocation=invocation,
            limit=limit
            and {
                "index": _get_index(record.kind, limit.parent),
                "most": limit.maximum,
                "moving": limit.in_progress_only,
            },
        )

    def find_by_invocation(self, invocation: str) -> str | None:
        arn = self._redis.get(f"{PREFIX}invocation:{invocation}")
        return None if arn is None else str(arn)

    def replace(
        self,
        record: Record,
        *,
        invocation: str | None = None,
        guards: Sequence[Record] = (),
        outbox: Sequence[OutboxEntry] = (),
        completed_entry: str | None = None,
    ) -> None:
        standing = self.get(record.arn)
        if standing is None or standing.version != record.version:
            raise Conflict(record.arn)
        self._write_record(
            record,
            expect=str(record.version),
            guards=guards,
            outbox=outbox,
            done=completed_entry,
            invocation=invocation,
            unlist=[index for index in _list_indexes(standing) if index not in _list_indexes(record)],
        )

    def remove(self, record: Record, *, invocation: str | None = None) -> None:
        self._write_record(
            record,
            expect=str(record.version),
            remove=True,
            invocation=invocation,
            unlist=_list_indexes(record),
            unclaim=list(record.claims),
        )

    def _write_record(  # the one place that builds the script's argument
        self,
        record: Record,
        *,
        expect: str,
        guards: Sequence[Record] = (),
        outbox: Sequence[OutboxEntry] = (),
        **more: Any,
    ) -> str:
        arguments = {
            "prefix": PREFIX,
            "arn": record.arn,
            "document": record_codec.write_record(record),
            "moving": record_codec.get_status_in_progress(record),
            "attempt": str(record.attempt),
            "failures": str(record.failures),
            "created": repr(record.created),
            "expect": expect,
            "guards": {guard.arn: str(guard.version) for guard in guards},
            "claim": [] if more.get("remove") else list(record.claims),
            "unclaim": [],
            "list": [] if more.get("remove") else _list_indexes(record),
            "unlist": [],
            "notes": [{"id": entry.id, "text": record_codec.write_outbox_entry(entry)} for entry in outbox],
            "invocation_seconds": INVOCATION_SECONDS,
            # A deletion makes room: it is never refused for want of space.
            "frees": record_codec.get_status_in_progress(record) == DELETE_PENDING or bool(more.get("remove")),
            # cjson reads null as a true value: arguments that do not apply are left out.
            **{name: value for name, value in more.items() if value is not None},
        }
        verdict, arn = self._run_script("write", arguments)
        if verdict == "taken":
            raise NameTaken(arn)
        if verdict == "full":
            raise LimitReached(record.kind)
        if verdict == "conflict":
            raise Conflict(arn)
        return str(arn)

    def list_page(
        self,
        kind: str,
        parent: str | None = None,
        *,
        after: str | None = None,
        limit: int = 100,
        whole: bool = False,
    ) -> tuple[list[Record], str | None]:
        key = f"{PREFIX}index:{_get_index(kind, parent)}"
        score, _, last = after.partition("|") if after else ("+inf", "", "")
        # In one transaction: a record that is created or deleted between the two reads would shift the list.
        with self._redis.pipeline() as pipeline:
            pipeline.zrange(key, score, score, desc=True, byscore=True, withscores=True)
            pipeline.zrange(key, f"({score}", "-inf", desc=True, byscore=True, offset=0, num=limit + 1, withscores=True)
            same_time, older = pipeline.execute()
        # Members of one score come in reverse order of their text: those up to `last` were on the previous page.
        found: list[tuple[str, float]] = [one for one in same_time if one[0] < last] + older
        rows = found[:limit]
        more = f"{rows[-1][1]!r}|{rows[-1][0]}" if len(found) > limit else None
        pipeline = self._redis.pipeline(transaction=False)
        for arn, _ in rows:
            pipeline.hgetall(f"{PREFIX}record:{arn}")
        listed = [(arn, fields) for (arn, _), fields in zip(rows, pipeline.execute(), strict=True) if fields]
        if whole:
            return [record_codec.read_record(arn, fields) for arn, fields in listed], more
        return _read_all(listed, record_codec.read_record), more

    def list_in_progress(self) -> list[str]:
        return list(self._redis.zrange(f"{PREFIX}moving", 0, -1))

    def list_outbox(self, older_than: float = 0.0) -> list[OutboxEntry]:
        ids = self._redis.zrange(f"{PREFIX}outbox", "-inf", self.now() - older_than, byscore=True)
        texts = self._redis.hmget(f"{PREFIX}notes", ids) if ids else []
        return _read_all(
            [(entry_id, text) for entry_id, text in zip(ids, texts, strict=True) if text],
            record_codec.read_outbox_entry,
        )

    def add_to_outbox(self, entry: OutboxEntry) -> None:
        self._scripts["note"](
            keys=[f"{PREFIX}notes", f"{PREFIX}outbox"], args=[entry.id, record_codec.write_outbox_entry(entry)]
        )

    def remove_from_outbox(self, entry_id: str) -> None:
        with self._redis.pipeline() as pipeline:
            pipeline.hdel(f"{PREFIX}notes", entry_id)
            pipeline.zrem(f"{PREFIX}outbox", entry_id)
            pipeline.execute()

    # Leases

    def claim_lease(self, arn: str, worker: str, statuses: frozenset[str], seconds: float) -> Lease | None:
        attempt = self._scripts["claim"](
            keys=[f"{PREFIX}record:{arn}", f"{PREFIX}lease:{arn}"],
            args=[worker, round(seconds * 1000), *sorted(statuses)],
        )
        if attempt is None:
            return None
        return Lease(arn=arn, worker=worker, attempt=int(attempt), seconds_left=seconds)

    def renew_lease(self, lease: Lease, seconds: float) -> str | None:
        in_progress = self._scripts["renew"](
            keys=[f"{PREFIX}record:{lease.arn}", f"{PREFIX}lease:{lease.arn}"],
            args=[lease.worker, lease.attempt, round(seconds * 1000)],
        )
        return None if in_progress is None else str(in_progress)

    def release_lease(self, lease: Lease, *, failed: bool) -> None:
        self._scripts["release"](
            keys=[f"{PREFIX}record:{lease.arn}", f"{PREFIX}lease:{lease.arn}"],
            args=[lease.worker, lease.attempt, "1" if failed else "0"],
        )

    def get_lease(self, arn: str) -> Lease | None:
        fields = self._redis.hgetall(f"{PREFIX}lease:{arn}")
        if not fields:
            return None
        seconds, microseconds = self._redis.time()
        left = float(fields["ends"]) / 1000 - (seconds + microseconds / 1e6)
        return Lease(arn=arn, worker=fields["worker"], attempt=int(fields["attempt"]), seconds_left=left)

    def acquire_lock(self, name: str, owner: str, seconds: float) -> bool:
        return bool(self._scripts["lock"](keys=[f"{PREFIX}lock:{name}"], args=[owner, round(seconds * 1000)]))

    def send_heartbeat(self, process: str, seconds: float) -> None:
        self._redis.set(f"{PREFIX}beat:{process}", "1", px=round(seconds * 1000))

    def list_live_processes(self) -> list[str]:
        start = len(f"{PREFIX}beat:")
        return sorted(key[start:] for key in self._redis.scan_iter(match=f"{PREFIX}beat:*", count=1000))

    # Interactions

    def append_interactions(
        self,
        dataset: str,
        interactions: Sequence[Interaction],
        *,
        invocation: str,
        attributed: AttributedEvents | None = None,
    ) -> int:
        arguments = {
            "prefix": PREFIX,
            "dataset": dataset,
            "invocation": invocation,
            "invocation_seconds": INVOCATION_SECONDS,
            "id_seconds": EVENT_ID_SECONDS,
            "recent": RECENT_LIMIT,
            "seen": SEEN_LIMIT,
            "seen_seconds": SEEN_SECONDS,
            "events": [
                {"user": one.user_id, "text": record_codec.write_interaction(one)}
                | ({"id": one.event_id} if one.event_id else {})
                | _build_seen_entry(one)
                | queued
                for one, queued in zip(interactions, list_attributed_texts(attributed, len(interactions)), strict=True)
            ],
            # cjson reads null as a true value: arguments that do not apply are left out.
            **({"attribution": attributed.attribution} if attributed else {}),
        }
        return int(self._run_script("append", arguments))

    def iter_interactions(self, dataset: str) -> Iterator[Interaction]:
        start = "-"
        while page := self._redis.xrange(f"{PREFIX}stream:{dataset}", min=start, count=10_000):
            yield from (record_codec.read_interaction(fields["event"]) for _, fields in page)
            start = f"({page[-1][0]}"

    def get_last_arrival(self, dataset: str) -> float:
        with self._redis.pipeline() as pipeline:
            pipeline.xrevrange(f"{PREFIX}stream:{dataset}", count=1)
            pipeline.lindex(f"{PREFIX}live_files:{dataset}", -1)
            newest, file = pipeline.execute()
        if newest:
            return get_arrival(newest[0][0])
        return get_arrival(record_codec.read_live_file(file).last) if file else 0.0

    def save_impression(self, dataset: str, recommendation_id: str, impression: str) -> None:
        keep = ("SET", f"{PREFIX}shown:{dataset}:{recommendation_id}", impression, "EX", SHOWN_SECONDS)
        connection = self._redis.connection_pool.get_connection()
        try:
            connection.send_packed_command(connection.pack_commands([("CLIENT", "REPLY", "SKIP"), keep]))
        finally:
            self._redis.connection_pool.release(connection)

    def get_impressions(self, dataset: str, recommendation_ids: Sequence[str]) -> Mapping[str, str]:
        found = self._redis.mget([f"{PREFIX}shown:{dataset}:{each}" for each in recommendation_ids])
        return {each: text for each, text in zip(recommendation_ids, found, strict=True) if text is not None}

    def clear_dataset(self, dataset: str) -> None:
        self._redis.delete(*(f"{PREFIX}{family}:{dataset}" for family in _WHOLE_FAMILIES))
        for owner in (dataset, f"{ANY_GENERATION}:{dataset}"):
            for family in ("recent", "seen") if owner != dataset else ("recent", "event", "seen", "shown"):
                self._delete_matching(f"{family}:{owner}:*")

    # Put records

    def save_put_records(self, dataset: str, records: Sequence[PutRecord], *, invocation: str) -> None:
        arguments = {
            "prefix": PREFIX,
            "dataset": dataset,
            "invocation": invocation,
            "invocation_seconds": INVOCATION_SECONDS,
            "records": [{"id": one.id, "text": record_codec.write_put_record(one)} for one in records],
        }
        self._run_script("put", arguments)

    def iter_put_records(self, dataset: str) -> Iterator[PutRecord]:
        key = f"{PREFIX}put:{dataset}"
        ids = sorted(self._redis.hkeys(key))
        for start in range(0, len(ids), 1000):
            texts = self._redis.hmget(key, ids[start : start + 1000])
            yield from (record_codec.read_put_record(text) for text in texts if text is not None)

    def get_last_put(self, dataset: str) -> float:
        return float(self._redis.get(f"{PREFIX}put_at:{dataset}") or 0)


def _read_all(entries: Sequence[tuple[str, S]], read: Callable[[str, S], T]) -> list[T]:
    """Read the entries; the unreadable ones are left out, logged and counted."""
    found = (_unreadable.run_unless_quarantined(name, partial(read, name, entry)) for name, entry in entries)
    return [one for one in found if one is not None]


def _build_seen_entry(interaction: Interaction) -> dict[str, Any]:
    """Build the part of an event that filters read; {} where it names no item."""
    if interaction.item_id is None:
        return {}
    return {"item": interaction.item_id, "type": interaction.event_type.lower(), "at": interaction.sent_at}


def _get_index(kind: str, parent: str | None) -> str:
    return kind if parent is None else f"{kind}:{parent}"


def _list_indexes(record: Record) -> list[str]:
    return [_get_index(record.kind, parent) for parent in (None, *record.parents)]
