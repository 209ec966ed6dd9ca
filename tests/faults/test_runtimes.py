"""Three runtimes and two events services on one Redis: what one knows all know, and none is missed.

Two of the runtimes and one of the events services are asked directly, the others through the gateway.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.serving.further import Further, beside
from shared.http.staleness import STALENESS_HEADER
from shared.store.invalidation import SILENCE
from tests.conftest import System, processes, start_system, stop_system, until
from tests.operations.conftest import POPULARITY, SMALL, Maker

#: A client that does not try again by itself.
ONCE = Config(retries={"total_max_attempts": 1})


def at(url: str, service: str, system: System, config: Config = ONCE) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=system.environment["AWS_REGION"],
        aws_access_key_id=system.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=system.environment["AWS_SECRET_ACCESS_KEY"],
        config=config,
    )


@dataclass(frozen=True)
class World:
    system: System
    further: list[Further]
    """Two runtimes and an events service."""
    make: Maker
    campaign: str
    version: str
    popular: str
    tracking_id: str

    @property
    def urls(self) -> list[str]:
        """Of the three runtimes."""
        gateway = self.system.environment["AWS_ENDPOINT_URL_PERSONALIZE_RUNTIME"]
        return [gateway, *(one.url for one in self.further[:2])]

    def runtimes(self, config: Config = ONCE) -> list[Any]:
        return [at(url, "personalize-runtime", self.system, config) for url in self.urls]

    def events(self) -> Iterator[Any]:
        """The two events services in turn."""
        return itertools.cycle([self.system.events, at(self.further[2].url, "personalize-events", self.system)])

    def sent(self, client: Any, user: str, item: str) -> None:
        event = {"eventType": "watch", "itemId": item, "sentAt": time.time()}
        client.put_events(trackingId=self.tracking_id, userId=user, sessionId="s", eventList=[event])

    def answer(self, runtime: Any, user: str) -> Any:
        return runtime.get_recommendations(campaignArn=self.campaign, userId=user, numResults=5)


def items(answer: Any) -> list[str]:
    return [item["itemId"] for item in answer["itemList"]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    system = start_system(tmp_path_factory.mktemp("runtimes"), FORETASTE_RETRAIN_ON_ALL_USERS="false")
    try:
        make = Maker(system.personalize, system.folder)
        group = make.group()
        assert make.imported(make.dataset(group), make.csv())["status"] == "ACTIVE"
        solutions = [make.solution(group, solutionConfig=SMALL), make.solution(group, POPULARITY)]
        with beside(system.folder, system.environment, "runtime", "runtime", "events") as further:
            version, popular = (make.trained(solution)["solutionVersionArn"] for solution in solutions)
            campaign = make.client.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
            assert make.settled("campaign", "campaign", campaign)["status"] == "ACTIVE"
            yield World(system, further, make, campaign, version, popular, make.tracker(group)[1])
    finally:
        stop_system(system)


def updated(world: World, version: str) -> None:
    world.make.client.update_campaign(campaignArn=world.campaign, solutionVersionArn=version)

    def done() -> bool:
        update = world.make.client.describe_campaign(campaignArn=world.campaign)["campaign"]["latestCampaignUpdate"]
        assert update["status"] != "CREATE FAILED", update
        return bool(update["status"] == "ACTIVE")

    until(done, 30, "the campaign to be updated")


def test_an_event_that_one_has_taken_is_known_to_all(world: World) -> None:
    """Everybody goes round the items in one order, so what comes next is known."""
    events, runtimes = world.events(), world.runtimes(Config())
    before = [items(world.answer(runtime, "new")) for runtime in runtimes]
    assert before[0] == before[1] == before[2]
    for item in ("i5", "i6", "i7", "i8"):
        world.sent(next(events), "new", item)
        after = [items(world.answer(runtime, "new")) for runtime in runtimes]
        assert after[0] == after[1] == after[2]
    assert after[0][0] == "i9"


def test_an_updated_campaign_answers_with_the_new_version_everywhere(world: World) -> None:
    """Popularity tells no scores. A runtime that has not loaded it yet says 503, and boto3 asks again."""
    runtimes = world.runtimes(Config(retries={"mode": "standard"}))
    for version, scored in ((world.popular, False), (world.version, True)):
        updated(world, version)
        for runtime in runtimes:
            assert all(("score" in item) == scored for item in world.answer(runtime, "u1")["itemList"])


def test_one_killed_under_load_fails_no_request_of_a_client_that_tries_again_once(world: World) -> None:
    over, answered, again, failed = threading.Event(), [0], [0], []

    def ask(number: int) -> None:
        runtimes = world.runtimes()
        for turn in itertools.count(number):
            if over.is_set():
                return
            try:
                try:
                    world.answer(runtimes[turn % 3], f"u{turn % 40}")
                except (BotoCoreError, ClientError):
                    again[0] += 1
                    world.answer(runtimes[(turn + 1) % 3], f"u{turn % 40}")
                answered[0] += 1
            except (BotoCoreError, ClientError) as error:
                failed.append(error)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for client in clients:
        client.start()
    until(lambda: answered[0] > 30, 20, "the load")
    world.further[1].kill()
    enough = answered[0] + 100
    until(lambda: answered[0] > enough, 30, "the load to go on")
    over.set()
    for client in clients:
        client.join()
    assert failed == []
    assert again[0] > 0


def timed(world: World, runtime: Any, user: str) -> tuple[Any, float]:
    """The answer, or the status of a refusal, and how long it took."""
    started = time.monotonic()
    try:
        answer = world.answer(runtime, user)
    except ClientError as error:
        answer = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return answer, time.monotonic() - started


def stale(answer: Any) -> bool:
    return STALENESS_HEADER in answer["ResponseMetadata"]["HTTPHeaders"]


def test_without_redis_known_users_are_answered_within_a_second_and_strangers_refused(world: World) -> None:
    runtimes = world.runtimes()[:2]  # the third was killed
    for item in ("i5", "i6", "i7", "i8"):
        world.sent(world.system.events, "seen", item)
    assert [items(world.answer(runtime, "seen"))[0] for runtime in runtimes] == ["i9", "i9"]
    [server] = processes(world.system, "valkey-server")
    os.kill(server, signal.SIGSTOP)
    time.sleep(SILENCE)  # for so long nobody can tell that from a server that has nothing to say
    try:
        for _ in range(4):
            for runtime in runtimes:
                for user in ("seen", "u1", "stranger"):
                    answer, seconds = timed(world, runtime, user)
                    assert seconds < 1.0
                    assert answer == 503 if user == "stranger" else stale(answer) and len(items(answer)) == 5
                    assert user != "seen" or items(answer)[0] == "i9"
    finally:
        os.kill(server, signal.SIGCONT)
    for runtime in runtimes:
        until(lambda runtime=runtime: timed(world, runtime, "stranger")[0] != 503, 5, "Redis to be found again")
        assert not stale(world.answer(runtime, "u1"))
    os.kill(server, signal.SIGKILL)
    world.sent(world.system.events, "seen", "i9")  # waits for the new server
    for runtime in runtimes:
        answer, seconds = timed(world, runtime, "u1")
        assert seconds < 1.0
        assert len(items(answer)) == 5
        until(lambda runtime=runtime: items(world.answer(runtime, "seen"))[0] == "i10", 5, "the event after the crash")
