"""CreateDataDeletionJob, DescribeDataDeletionJob, ListDataDeletionJobs. What is checked: unit/services/api."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import redis

from tests.conftest import System, until
from tests.operations.conftest import ROLE, SMALL, Maker, column, recommended

#: An id that is part of no other text.
USER = "unmistakable-7f3a91"
SESSION = "session-of-7f3a91"
#: Both contain it.
WORD = b"7f3a91"


def deleted(make: Maker, group: str, location: str) -> dict[str, Any]:
    """A data deletion job that has ended."""
    arn = make.client.create_data_deletion_job(
        jobName=make.name(), datasetGroupArn=group, roleArn=ROLE, dataSource={"dataLocation": location}
    )["dataDeletionJobArn"]

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = make.client.describe_data_deletion_job(dataDeletionJobArn=arn)["dataDeletionJob"]
        return None if job["status"] in ("PENDING", "IN_PROGRESS") else job

    return until(look, 120, arn)


def find_traces(system: System) -> Iterator[str]:
    """The files of the data folder and the keys of Redis that hold the id; the clients' own buckets aside."""
    for path in system.folder.rglob("*"):
        if path.is_file() and path.relative_to(system.folder).parts[0] != "s3":
            try:
                if WORD in path.read_bytes() or (path.suffix == ".parquet" and WORD in read_rows(path)):
                    yield str(path)
            except (FileNotFoundError, duckdb.IOException):
                continue
    conf = dict(
        line.split(" ", 1) for line in (system.folder / "redis" / "redis.conf").read_text().splitlines() if " " in line
    )
    client = redis.Redis(port=int(conf["port"]), password=conf["requirepass"])
    for key in client.scan_iter(count=1000):
        if WORD in key or WORD in read_value(client, key):
            yield key.decode()


def read_rows(path: Path) -> bytes:
    """The rows of a Parquet file, whose pages are compressed."""
    with duckdb.connect() as database:
        return repr(database.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()).encode()


def read_value(client: redis.Redis, key: bytes) -> bytes:
    """The value of a key, as commands return it: DUMP compresses long ones."""
    readers: Mapping[bytes, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: client.xrange(key),
        b"none": lambda: b"",
    }
    return repr(readers[client.type(key)]()).encode()


def test_a_deleted_user_is_unknown_and_leaves_no_trace(system: System, make: Maker, personalize: Any) -> None:
    group = make.group()
    dataset = make.dataset(group)
    location = make.csv()
    bucket = location.split("/")[2]
    path = make.folder / "s3" / bucket / "interactions.csv"
    own = "".join(f"{USER},i{n % 3},{1_600_000_000 + 60 * n},watch,tv\n" for n in range(30))
    path.write_text(path.read_text() + own)
    assert make.imported(dataset, location)["status"] == "ACTIVE"
    people = [(f"u{n}", 20 + n) for n in range(40)] + [(USER, 77)]
    make.filled(group, "Users", [column("USER_ID"), column("AGE", "int")], people)
    campaign = make.deployed(make.solution(group, solutionConfig=SMALL))
    _, tracking_id = make.tracker(group)
    sent = [
        {"eventType": "watch", "itemId": "i1", "sentAt": 1_700_000_000 + n, "eventId": f"{USER}-{n}"} for n in (1, 2)
    ]
    system.events.put_events(trackingId=tracking_id, sessionId=SESSION, eventList=sent[:1])
    system.events.put_events(trackingId=tracking_id, userId=USER, sessionId=SESSION, eventList=sent[1:])
    users = personalize.list_datasets(datasetGroupArn=group)["datasets"]
    [users_arn] = [one["datasetArn"] for one in users if one["datasetType"] == "USERS"]
    system.events.put_users(datasetArn=users_arn, users=[{"userId": USER, "properties": '{"age": 78}'}])
    filter_arn = personalize.create_filter(
        name=make.name(),
        datasetGroupArn=group,
        filterExpression='EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")',
    )["filterArn"]
    make.settled("filter", "filter", filter_arn)
    assert "i1" not in recommended(system, campaign, USER, filterArn=filter_arn)
    assert recommended(system, campaign, USER) != recommended(system, campaign, "stranger")
    before = recommended(system, campaign, "u1")
    traces = list(find_traces(system))
    assert any(trace.endswith("rows.parquet") for trace in traces)
    assert any(":recent:" in trace or "stream:" in trace for trace in traces)

    named = make.file("USER_ID", [(USER,), ("stranger",)])
    job = deleted(make, group, named.rpartition("/")[0] + "/")
    assert job["status"] == "COMPLETED", job
    assert job["numDeleted"] == 30 + 1 + 2 + 1
    assert recommended(system, campaign, USER) == recommended(system, campaign, "stranger")
    assert recommended(system, campaign, "u1") == before
    assert recommended(system, campaign, USER, filterArn=filter_arn) == recommended(system, campaign, "stranger")
    # Redis removes its older log, and the worker its workspace, a moment after the end.
    until(lambda: not list(find_traces(system)), 20, "the traces to be gone")
    [listed] = personalize.list_data_deletion_jobs(datasetGroupArn=group)["dataDeletionJobs"]
    assert (listed["dataDeletionJobArn"], listed["status"]) == (job["dataDeletionJobArn"], "COMPLETED")
    assert job["dataSource"] == {"dataLocation": named.rpartition("/")[0] + "/"}


def test_a_file_without_users_is_told(make: Maker) -> None:
    job = deleted(make, make.group(), make.file("ID", [("u1",)]))
    assert job["status"] == "FAILED"
    assert job["failureReason"].startswith("The header of rows.csv has no column USER_ID")
    assert "numDeleted" not in job
