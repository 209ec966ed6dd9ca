"""kill -9, stopped and restarted processes under a life that goes on: nothing acknowledged is lost, nothing is stuck.

Real processes and real signals, through boto3 alone.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from shared.data.live_events import iter_live_events
from shared.jobs import celery_app
from shared.settings import Settings
from shared.state.messages import Failed, Finished, TrainSolutionVersion
from shared.storage.artifacts import Artifacts
from shared.store.redis import RedisStore
from tests.conftest import System, gone, processes, start_system, stop_system, until
from tests.operations.conftest import ROLE, SMALL, Maker

SERVERS = (
    "valkey-server",
    "services.api",
    "services.runtime",
    "services.events",
    "services.gateway",
    "services.status",
    "workers.importing.app",
)
#: A training that is cut off need not be good: it goes without a second one on all users.
ONCE = {"FORETASTE_RETRAIN_ON_ALL_USERS": "false"}


def kill(system: System, part: str, how: signal.Signals = signal.SIGKILL) -> list[int]:
    killed = until(lambda: processes(system, part), 20, part)
    for pid in killed:
        os.kill(pid, how)
    return killed


def maker(system: System) -> Maker:
    return Maker(system.personalize, system.folder)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that loses patience with silent workers after 3 seconds, and with silent jobs soon."""
    impatience = {
        "FORETASTE_LEASE_SECONDS": "3",
        "FORETASTE_RING_AFTER_SECONDS": "2",
        "FORETASTE_IMPORT_SILENCE_SECONDS": "8",
        "FORETASTE_LIVE_EVENTS_MOST": "30",
        # As it is unless told otherwise.
        "FORETASTE_DELETION_SECONDS": "2",
        # A child imports torch meanwhile.
        "FORETASTE_TRAINING_SILENCE_SECONDS": "20",
    }
    running = start_system(tmp_path_factory.mktemp("hasty"), **impatience, **ONCE)
    yield running
    stop_system(running)


def ready_group(make: Maker, rows: int = 30_000) -> str:
    group = make.group()
    job = make.imported(make.dataset(group), make.csv(rows=rows, users=300, items=200))
    assert job["status"] == "ACTIVE", job
    return group


def begun(make: Maker, group: str) -> str:
    """A new version of a small solution."""
    solution = make.solution(group, solutionConfig=SMALL)
    return str(make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"])


def training(make: Maker, group: str) -> str:
    """A version whose training has ended its first epoch: a checkpoint lies there."""
    version = begun(make, group)

    def epoch() -> bool:
        answer = make.client.describe_solution_version(solutionVersionArn=version)
        assert answer["solutionVersion"]["status"].startswith("CREATE"), answer["solutionVersion"]
        return '"epoch":2' in answer["ResponseMetadata"]["HTTPHeaders"].get("x-foretaste-progress", "")

    until(epoch, 90, "the second epoch")
    return version


def test_a_life_goes_on_while_every_process_is_killed_in_turn(hasty: System) -> None:
    make = maker(hasty)
    over = threading.Event()
    killed: list[str] = []

    def murder() -> None:
        while not over.is_set():
            for part in SERVERS:
                if processes(hasty, part):
                    kill(hasty, part)
                    killed.append(part)
                # A busy machine takes longer to start one than to kill the next.
                until(lambda part=part: over.is_set() or processes(hasty, part), what=f"{part} to be started again")
                if over.wait(3.0):
                    return

    murderer = threading.Thread(target=murder)
    murderer.start()
    try:
        group = make.group()
        job = make.settled(
            "dataset_import_job", "datasetImportJob", make.started_import(make.dataset(group), make.csv()), 300
        )
        assert job["status"] == "ACTIVE", job
        version = begun(make, group)
        trained = make.settled("solution_version", "solutionVersion", version, 600)
        assert trained["status"] == "ACTIVE", trained
        campaign = make.client.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
        deployed = make.settled("campaign", "campaign", campaign, 300)
        assert deployed["status"] == "ACTIVE", deployed
        until(lambda: set(SERVERS) <= set(killed), 180, "every process to be killed")
    finally:
        over.set()
        murderer.join()
    answer = hasty.runtime.get_recommendations(campaignArn=campaign, userId="u1", numResults=5)
    assert len(answer["itemList"]) == 5


def test_a_killed_training_worker_is_noticed_and_its_work_goes_on_from_the_checkpoint(hasty: System) -> None:
    make = maker(hasty)
    version = training(make, ready_group(make))
    kill(hasty, "workers.training.app")
    until(lambda: "worker lost" in hasty.log("status"), 10, "the loss to be noticed")
    ended = make.settled("solution_version", "solutionVersion", version, 600)
    assert ended["status"] == "ACTIVE", ended
    metrics = make.client.get_solution_metrics(solutionVersionArn=version)["metrics"]
    assert metrics["normalized_discounted_cumulative_gain_at_25"] > 0


def test_training_whose_process_dies_three_times_fails_with_a_reason(hasty: System) -> None:
    make = maker(hasty)
    group = ready_group(make)
    _, _, store = inside(hasty)
    version = begun(make, group)
    dead: set[int] = set()
    deadline = time.monotonic() + 90
    while len(dead) < 3 and time.monotonic() < deadline:
        # A child is kept for the next job: it is this version's for as long as its worker has the lease.
        lease = store.get_lease(version)
        if lease is not None and lease.seconds_left > 0:
            for pid in set(processes(hasty, "workers.training.job")) - dead:
                os.kill(pid, signal.SIGKILL)
                dead.add(pid)
        time.sleep(0.05)
    ended = make.settled("solution_version", "solutionVersion", version, 60)
    assert ended["status"] == "CREATE FAILED"
    assert "died 3 times, the last time with signal SIGKILL" in ended["failureReason"]
    assert len(dead) == 3


def test_jobs_that_hang_are_noticed_killed_and_done_by_another_child(hasty: System) -> None:
    make = maker(hasty)
    group = ready_group(make, rows=2_000)
    # A child that has done a job waits for the next one, which this will not get on with.
    stuck = kill(hasty, "workers.importing.import_job", signal.SIGSTOP)
    job = make.started_import(make.dataset(make.group()), make.csv())
    version = begun(make, group)
    stuck += kill(hasty, "workers.training.job", signal.SIGSTOP)
    imported = make.settled("dataset_import_job", "datasetImportJob", job, 60)
    assert imported["status"] == "ACTIVE", imported
    trained = make.settled("solution_version", "solutionVersion", version, 600)
    assert trained["status"] == "ACTIVE", trained
    assert all(map(gone, stuck))
    records = [inside(hasty)[2].get(arn) for arn in (job, version)]
    assert [record.failures for record in records if record] == [1, 1]


def test_each_live_event_is_kept_once_however_often_compactions_are_killed(hasty: System) -> None:
    make, random = maker(hasty), Random(20)
    group = make.group()
    dataset = make.dataset(group)
    _, tracking_id = make.tracker(group)
    sent: list[str] = []
    _, _, store = inside(hasty)
    artifacts = Artifacts(hasty.folder / "artifacts")

    def send(number: int) -> None:
        for _ in range(number):
            events = [
                {"eventId": f"{len(sent) + n}", "eventType": "watch", "itemId": "i", "sentAt": 1e9} for n in range(10)
            ]
            hasty.events.put_events(trackingId=tracking_id, userId=f"u{len(sent) % 3}", sessionId="s", eventList=events)
            sent.extend(event["eventId"] for event in events)

    def is_compacting() -> bool:
        """A compaction has decided which events it moves, and a kill now meets it somewhere."""
        return bool(store._redis.hget(f"foretaste:live:{dataset}", "cut")) and bool(
            processes(hasty, "workers.importing.compaction_job")
        )

    for killed in range(2):
        send(4)
        until(lambda: is_compacting() or not store.measure_stream(dataset), 60, "a compaction")
        time.sleep(random.random() * 0.5)
        for pid in processes(hasty, ("workers.importing.compaction_job", "workers.importing.app")[killed % 2]):
            os.kill(pid, signal.SIGKILL)
        assert [one.event_id for one in iter_live_events(store, artifacts, dataset)] == sent
    until(
        lambda: (store.measure_stream(dataset) is None) and not store.list_unswept_generations(dataset), 90, "the end"
    )
    assert [one.event_id for one in iter_live_events(store, artifacts, dataset)] == sent
    assert store.list_live_files(dataset)
    make.client.delete_dataset(datasetArn=dataset)
    until(lambda: not artifacts.get_live_folder(dataset).exists(), 30, "the files are removed")


def test_a_deletion_is_seen_for_two_seconds_before_it_is_done(hasty: System) -> None:
    make = maker(hasty)
    group = make.group()
    make.client.delete_dataset_group(datasetGroupArn=group)
    deleted, seen = time.monotonic(), set()

    def is_gone() -> bool:
        try:
            answer = make.client.describe_dataset_group(datasetGroupArn=group)
        except make.client.exceptions.ResourceNotFoundException:
            return True
        seen.add(answer["datasetGroup"]["status"])
        return False

    until(is_gone, 30, f"the end of {group}")
    assert time.monotonic() - deleted >= 2.0
    assert "DELETE PENDING" in seen
    assert seen <= {"DELETE PENDING", "DELETE IN_PROGRESS"}


def test_a_worker_told_to_end_hands_its_work_back_at_once(hasty: System) -> None:
    make = maker(hasty)
    version = training(make, ready_group(make))
    kill(hasty, "workers.training.app", signal.SIGTERM)
    ended = make.settled("solution_version", "solutionVersion", version, 600)
    assert ended["status"] == "ACTIVE", ended


def test_redis_killed_loses_nothing_acknowledged(hasty: System) -> None:
    make = maker(hasty)
    made = []
    for _ in range(5):
        made += [make.client.create_dataset_group(name=make.name())["datasetGroupArn"] for _ in range(10)]
        kill(hasty, "valkey-server")
    for arn in made:
        assert make.settled("dataset_group", "datasetGroup", arn)["status"] == "ACTIVE"


def test_events_are_attributed_once_while_the_processes_that_sum_them_are_killed(hasty: System) -> None:
    make = maker(hasty)
    group = make.group()
    dataset = make.dataset(group)
    _, tracking_id = make.tracker(group)
    metric = {"metricName": "watched", "eventType": "watch", "expression": "SAMPLECOUNT()"}
    arn = make.client.create_metric_attribution(
        name=make.name(), datasetGroupArn=group, metrics=[metric], metricsOutputConfig={"roleArn": ROLE}
    )["metricAttributionArn"]
    assert make.settled("metric_attribution", "metricAttribution", arn)["status"] == "ACTIVE"
    job = make.started_import(dataset, make.csv(rows=1200, start=int(time.time()) - 40_000))
    for number in range(100):
        event = {"eventType": "Watch", "itemId": "i1", "sentAt": time.time(), "eventId": str(number // 2)}
        hasty.events.put_events(trackingId=tracking_id, sessionId="s", eventList=[event] * 2)
        if number % 20 == 7:
            kill(hasty, "services.status.app")
        if number == 50:
            kill(hasty, "valkey-server")
    assert make.settled("dataset_import_job", "datasetImportJob", job)["status"] == "ACTIVE"

    def count_samples() -> int:
        values = hasty.foretaste.list_metric_attribution_values(metricAttributionArn=arn)["values"]
        return sum(one["sampleCount"] for one in values)

    until(lambda: count_samples() >= 1250, 60, "all events to be summed")
    _, _, store = inside(hasty)
    waiting = until(lambda: store.read_waiting_data(arn, 1), 5)
    assert (waiting.events, dict(waiting.jobs)) == ([], {})
    assert count_samples() == 1250


def test_redis_stopped_for_ten_seconds_is_waited_for(hasty: System) -> None:
    make = maker(hasty)
    version = training(make, ready_group(make))
    [pid] = kill(hasty, "valkey-server", signal.SIGSTOP)
    time.sleep(10)  # the fault itself
    os.kill(pid, signal.SIGCONT)
    ended = make.settled("solution_version", "solutionVersion", version, 600)
    assert ended["status"] == "ACTIVE", ended


@pytest.mark.nightly
@pytest.mark.parametrize("part", ["services.status", "workers.importing.app"])
def test_a_worker_that_is_stopped_for_good_is_replaced(hasty: System, part: str) -> None:
    make = maker(hasty)
    dataset, location = make.dataset(), make.csv()
    [hung] = kill(hasty, part, signal.SIGSTOP)
    started = make.started_import(dataset, location)
    until(lambda: gone(hung), 120, f"the end of {part}")
    job = make.settled("dataset_import_job", "datasetImportJob", started)
    assert job["status"] == "ACTIVE", job


def test_everything_is_found_again_at_the_next_up_and_nothing_runs_in_between(tmp_path: Path) -> None:
    first = start_system(tmp_path, **ONCE)
    make = maker(first)
    group = ready_group(make, rows=3000)
    version = begun(make, group)
    make.settled("solution_version", "solutionVersion", version, 600)
    campaign = make.client.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
    make.settled("campaign", "campaign", campaign)
    _, tracking_id = make.tracker(group)
    first.events.put_events(
        trackingId=tracking_id,
        userId="new",
        sessionId="s",
        # Of yesterday: what is recommended changes in the seconds after an event, and a minute passes here.
        eventList=[{"eventType": "watch", "itemId": "i3", "sentAt": time.time() - 100_000}],
    )
    before = answer(first, campaign)
    unfinished = training(make, ready_group(make))
    started = time.monotonic()
    running = processes(first)
    assert len(running) > 10
    stop_system(first)
    assert time.monotonic() - started < 10
    until(lambda: all(gone(pid) for pid in running), 1, "every process to end")

    second = start_system(tmp_path, **ONCE)
    try:
        assert second.environment["AWS_SECRET_ACCESS_KEY"] == first.environment["AWS_SECRET_ACCESS_KEY"]
        assert answer(second, campaign) == before
        ended = maker(second).settled("solution_version", "solutionVersion", unfinished, 600)
        assert ended["status"] == "ACTIVE", ended
    finally:
        stop_system(second)


def answer(system: System, campaign: str) -> list[Any]:
    items = system.runtime.get_recommendations(campaignArn=campaign, userId="new", numResults=10)["itemList"]
    return [item["itemId"] for item in items]


@pytest.mark.nightly
def test_a_killed_worker_is_noticed_within_thirty_seconds_by_default(tmp_path: Path) -> None:
    system = start_system(tmp_path, **ONCE)
    try:
        make = maker(system)
        version = training(make, ready_group(make))
        killed = time.monotonic()
        kill(system, "workers.training.app")
        until(lambda: "worker lost" in system.log("status"), 30, "the loss to be noticed")
        assert time.monotonic() - killed < 30
        ended = make.settled("solution_version", "solutionVersion", version, 600)
        assert ended["status"] == "ACTIVE", ended
    finally:
        stop_system(system)


@pytest.mark.nightly
def test_a_torn_append_only_file_does_not_stop_the_next_up(tmp_path: Path) -> None:
    first = start_system(tmp_path)
    made = [first.personalize.create_dataset_group(name=f"g{number}")["datasetGroupArn"] for number in range(5)]
    for arn in made:
        maker(first).settled("dataset_group", "datasetGroup", arn)
    stop_system(first)
    [log] = (tmp_path / "redis").rglob("*.incr.aof")
    log.write_bytes(log.read_bytes()[:-7])
    second = start_system(tmp_path)
    try:
        listed = second.personalize.list_dataset_groups()["datasetGroups"]
        assert {group["datasetGroupArn"] for group in listed} == set(made)
        for arn in made:
            assert maker(second).settled("dataset_group", "datasetGroup", arn)["status"] == "ACTIVE"
    finally:
        stop_system(second)


def inside(system: System) -> tuple[Any, celery_app.MessageQueue, RedisStore]:
    """The queue and the store of a running system, as a process of it sees them."""
    lines = [line.split(" ", 1) for line in (system.folder / "redis" / "redis.conf").read_text().splitlines()]
    conf = dict(line for line in lines if len(line) == 2)
    url = f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"
    app = celery_app.create_celery_app(Settings(redis_url=url))
    return app, celery_app.MessageQueue(app), RedisStore(url)


def test_a_message_that_comes_again_or_late_changes_nothing(hasty: System) -> None:
    make = maker(hasty)
    arn = begun(make, ready_group(make, rows=3000))
    trained = make.settled("solution_version", "solutionVersion", arn, 600)
    assert trained["status"] == "ACTIVE", trained
    _, sending, store = inside(hasty)
    record = store.get(arn)
    assert record is not None
    for message in (
        TrainSolutionVersion(arn=arn),
        Finished(arn=arn, attempt=record.attempt),
        Failed(arn=arn, attempt=record.attempt, reason="x"),
    ):
        for _ in range(3):
            sending.send(message)
    until(
        lambda: sending.count_waiting("training") + sending.count_waiting("status") == 0, 20, "the messages to be taken"
    )
    # Whatever follows on the same queues has been handled after them.
    make.imported(make.dataset(), make.csv())
    assert make.client.describe_solution_version(solutionVersionArn=arn)["solutionVersion"] == trained


def test_a_poisoned_message_does_not_stop_a_worker(hasty: System) -> None:
    app, sending, _ = inside(hasty)
    app.send_task("importing.import_dataset", kwargs={"colour": "red"}, queue="importing")
    app.send_task("importing.no_such_task", kwargs={}, queue="importing")
    app.send_task("importing.import_dataset", kwargs={"arn": "arn:of:nothing"}, queue="importing")
    make = maker(hasty)
    assert make.imported(make.dataset(), make.csv())["status"] == "ACTIVE"
    until(lambda: sending.count_waiting("importing") == 0, 20, "the poison to be taken")
    assert "message not understood" in hasty.log("importing")
