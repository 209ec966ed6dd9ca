"""One process whose clock is ten minutes off, and a message that is lost: the work goes on as if it were right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from services.cli.local.processes import BY_NAME
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS, CREATE_PENDING
from shared.store import Record
from shared.store.redis import RedisStore
from tests.conftest import ROOT, until

GROUP = "arn:aws:personalize:us-east-1:000000000000:dataset-group/g"
CAMPAIGN = "arn:aws:personalize:us-east-1:000000000000:campaign/c"
SKEWED = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {skew}
time.time_ns = lambda: _time_ns() + {skew} * 1_000_000_000
"""
#: A worker that takes the work up, and whose report is written down and lost on its way.
WORKER = """
import sys
from shared.state.messages import Finished
from shared.jobs.celery_app import report_fact
from shared.state.lifecycle import CLAIMABLE
from shared.store.redis import RedisStore
class Lost:
    def send(self, message): pass
store = RedisStore(sys.argv[1])
lease = store.claim_lease(sys.argv[2], "worker", CLAIMABLE, 30.0)
report_fact(store, Lost(), Finished(arn=sys.argv[2], attempt=lease.attempt))
"""


def skewed(folder: Path, redis_url: str, seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds ahead."""
    (folder / "sitecustomize.py").write_text(SKEWED.format(skew=seconds))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "FORETASTE_REDIS_URL": redis_url,
        "FORETASTE_DATA_DIR": str(folder / "data"),
    }


@pytest.fixture
def store(redis_server: str) -> Iterator[RedisStore]:
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    yield RedisStore(redis_server)
    client.flushall()


def create(store: RedisStore, arn: str, kind: str, status: str) -> None:
    now = store.now()
    store.create(Record(arn=arn, kind=kind, status=status, created=now, updated=now), invocation=arn)


@pytest.mark.parametrize(("worker_ahead", "status_ahead"), [(600, 0), (0, 900), (0, -900)])
def test_a_clock_that_is_off_delays_nothing_and_hurries_nothing(
    tmp_path: Path, redis_server: str, store: RedisStore, worker_ahead: int, status_ahead: int
) -> None:
    create(store, GROUP, "dataset_group", CREATE_PENDING)
    create(store, CAMPAIGN, "campaign", CREATE_IN_PROGRESS)
    (tmp_path / "worker").mkdir()
    subprocess.run(
        [sys.executable, "-c", WORKER, redis_server, GROUP],
        env=skewed(tmp_path / "worker", redis_server, worker_ahead),
        cwd=ROOT,
        check=True,
        timeout=60,
    )
    environment = skewed(tmp_path, redis_server, status_ahead) | {"FORETASTE_RING_AFTER_SECONDS": "0"}
    command = [sys.executable, "-m", *BY_NAME["status"].command]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            # The report is found in the outbox two seconds after it was written.
            until(lambda: getattr(store.get(GROUP), "status", None) == ACTIVE, 30, "the report to be applied")
            assert store.list_outbox() == []
            # A runtime has ten minutes to take the campaign up, whatever the clock of this service says.
            campaign = store.get(CAMPAIGN)
            assert (campaign and campaign.status, campaign and campaign.reason) == (CREATE_IN_PROGRESS, None)
        finally:
            process.kill()
