"""The data of metric attributions in Redis. Keys, all under the prefix of ``redis.py``:

attributing:<attribution>           stream of the events that wait to be summed
attributing_jobs:<attribution>      hash: import job -> the next day of its sums that is to be added
attributed_version:<attribution>    string: raised whenever sums are saved
attributed:<attribution>:<day>      hash: JSON of a SumKey -> JSON [value, count]; expiring, but for day "total"
recommended:<attribution>:<day>     hash: JSON [ARN, bucket] -> number of recommendations; likewise
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from shared.store import INVOCATION_SECONDS, record_codec
from shared.store.attributions import (
    TOTAL,
    AttributedEvents,
    Sum,
    SumKey,
    WaitingData,
    WaitingEvent,
    find_day,
    find_expiry,
    list_days,
)

PREFIX = "foretaste:"


class RedisAttributions:
    """``shared.store.attributions.Attributions``, as a part of ``RedisStore``."""

    _redis: Any
    _scripts: Mapping[str, Any]

    def queue_import(self, attribution: str, job: str) -> None:
        self._scripts["await_sums"](args=[orjson.dumps({"prefix": PREFIX, "attribution": attribution, "job": job})])

    def read_waiting_data(self, attribution: str, limit: int) -> WaitingData:
        with self._redis.pipeline() as pipeline:
            pipeline.get(f"{PREFIX}attributed_version:{attribution}")
            pipeline.xrange(f"{PREFIX}attributing:{attribution}", count=limit)
            pipeline.hgetall(f"{PREFIX}attributing_jobs:{attribution}")
            version, entries, jobs = pipeline.execute()
        return WaitingData(
            version=int(version or 0),
            events=[
                # The id of a stream entry begins with Redis' time in milliseconds.
                WaitingEvent(
                    id_, int(id_.partition("-")[0]) / 1000, record_codec.read_attributed_event(fields["event"])
                )
                for id_, fields in entries
            ],
            jobs={job: int(day) for job, day in jobs.items()},
        )

    def get_sums(self, attribution: str, keys: Collection[SumKey]) -> dict[SumKey, Sum]:
        by_day: dict[str, list[SumKey]] = {}
        for key in keys:
            by_day.setdefault(find_day(key.bucket), []).append(key)
        found: dict[SumKey, Sum] = {}
        for day, listed in by_day.items():
            texts = self._redis.hmget(f"{PREFIX}attributed:{attribution}:{day}", [_write_key(key) for key in listed])
            found |= {key: Sum(*orjson.loads(text)) for key, text in zip(listed, texts, strict=True) if text}
        return found

    def save_sums(
        self,
        attribution: str,
        waiting: WaitingData,
        sums: Mapping[SumKey, Sum],
        *,
        entries: Sequence[str] = (),
        jobs: Mapping[str, int | None] | None = None,
    ) -> bool:
        arguments = {
            "prefix": PREFIX,
            "attribution": attribution,
            "version": str(waiting.version),
            "entries": list(entries),
            "jobs": [[job, "" if day is None else str(day)] for job, day in (jobs or {}).items()],
            "days": _group_by_day(
                (key.bucket, _write_key(key), orjson.dumps([sum_.value, sum_.samples]).decode())
                for key, sum_ in sums.items()
            ),
        }
        return bool(self._scripts["save_sums"](args=[orjson.dumps(arguments)]))

    def list_sums(self, attribution: str, start: float, end: float) -> dict[SumKey, Sum]:
        found = self._read_days("attributed", attribution, list_days(start, end))
        sums = ((SumKey(*orjson.loads(key)), Sum(*orjson.loads(text))) for key, text in found)
        return {key: sum_ for key, sum_ in sums if start <= key.bucket < end}

    def list_totals(self, attribution: str) -> dict[SumKey, Sum]:
        found = self._read_days("attributed", attribution, [find_day(TOTAL)])
        return {SumKey(*orjson.loads(key)): Sum(*orjson.loads(text)) for key, text in found}

    def count_recommendations(
        self, attribution: str, counts: Mapping[tuple[str, int], int], *, invocation: str
    ) -> None:
        listed = [(bucket, arn, bucket, number) for (arn, bucket), number in counts.items()]
        listed += [(TOTAL, arn, TOTAL, number) for (arn, _), number in counts.items()]
        arguments = {
            "prefix": PREFIX,
            "attribution": attribution,
            "invocation": invocation,
            "invocation_seconds": INVOCATION_SECONDS,
            "days": _group_by_day(
                (day, orjson.dumps([arn, bucket]).decode(), str(number)) for day, arn, bucket, number in listed
            ),
        }
        self._scripts["count_recommendations"](args=[orjson.dumps(arguments)])

    def list_recommendations(self, attribution: str, start: float, end: float) -> dict[tuple[str, int], int]:
        found = self._read_days("recommended", attribution, list_days(start, end))
        counts = ((orjson.loads(key), int(text)) for key, text in found)
        return {(arn, bucket): number for (arn, bucket), number in counts if start <= bucket < end}

    def list_recommendation_totals(self, attribution: str) -> dict[str, int]:
        found = self._read_days("recommended", attribution, [find_day(TOTAL)])
        return {orjson.loads(key)[0]: int(text) for key, text in found}

    def clear_attribution(self, attribution: str) -> None:
        whole = ("attributing", "attributing_jobs", "attributed_version")
        self._redis.delete(*(f"{PREFIX}{family}:{attribution}" for family in whole))
        for family in ("attributed", "recommended"):
            # ARNs contain no character with a meaning in patterns.
            for key in self._redis.scan_iter(match=f"{PREFIX}{family}:{attribution}:*", count=1000):
                self._redis.delete(key)

    def _read_days(self, family: str, attribution: str, days: Sequence[str]) -> list[tuple[str, str]]:
        pipeline = self._redis.pipeline(transaction=False)
        for day in days:
            pipeline.hgetall(f"{PREFIX}{family}:{attribution}:{day}")
        return [pair for fields in pipeline.execute() for pair in fields.items()]


def list_attributed_texts(attributed: AttributedEvents | None, events: int) -> list[dict[str, str]]:
    """Return the part of each event of a call that goes into the queue of an attribution; {} for those that do not."""
    if attributed is None:
        return [{}] * events
    return [{"attributed": record_codec.write_attributed_event(one)} if one else {} for one in attributed.events]


def _write_key(key: SumKey) -> str:
    return orjson.dumps(list(key)).decode()


def _group_by_day(fields: Iterable[tuple[int, str, str]]) -> list[dict[str, Any]]:
    """Group (bucket, field, value) by the day of the bucket, in the form that the scripts read."""
    days: dict[str, dict[str, Any]] = {}
    for bucket, name, value in fields:
        day = days.setdefault(find_day(bucket), {"day": find_day(bucket), "expires": find_expiry(bucket), "fields": []})
        day["fields"].append([name, value])
    return list(days.values())
