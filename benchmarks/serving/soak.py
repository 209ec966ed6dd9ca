"""``python -m benchmarks.serving.soak [MINUTES=10]``: reads, events, campaign swaps, kills, and every answer checked.

Three runtimes on one Redis: the one of the system, behind its gateway, and two beside it. Readers ask any of them and
try another once; writers send each user's events in order, until each is acknowledged; a campaign moves between two
versions all the while; a runtime is killed each minute, but for the last one, whose memory is watched.

An answer is right when an offline scorer gives it: the same artifact, loaded here, asked with what the user was trained
on and the events that were acknowledged before the request, and any number of those under way during it. Ends with
status 1 where an acknowledged event is lost or doubled, an answer is wrong, a request failed twice or memory grew.
"""

from __future__ import annotations

import csv
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import numpy as np
import numpy.typing as npt
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.serving import further
from services.cli.client import connect
from services.cli.data import demo_catalogue, tables
from services.cli.local.system import LocalSystem, SystemOptions, run_local_system
from services.cli.resource_life import ResourceLife
from shared.data.live_events import iter_live_events
from shared.http.staleness import STALENESS_HEADER
from shared.recipes.hrnn.scoring import Scorer as Hrnn
from shared.recipes.scoring_api import Query, Scorer
from shared.serving.user_history import merge_history
from shared.storage.artifacts import Artifacts
from shared.store import RECENT_LIMIT, Interaction
from shared.store.redis import RedisStore

HRNN = "arn:aws:personalize:::recipe/aws-hrnn"
#: Two models that tell themselves apart.
WIDTHS = ("32", "48")
#: Of the demo's films: so many of their users.
USERS = 100
READERS, WRITERS = 2, 2
PAUSE = 0.005
SWAP_EVERY, KILL_EVERY, FIRST_KILL = 10.0, 60.0, 15.0
RESULTS = 25
AT_ONCE = 10
#: The runtime's memory is flat if it grows by less than this share from the second quarter of the time to the last.
GROWTH = 0.05
WATCH_EVERY = 1.0
REFUSED = (BotoCoreError, ClientError)


@dataclass
class Ledger:
    """The events of each user in their order: those that were begun, and how many of them were acknowledged."""

    begun: defaultdict[str, list[Interaction]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: Counter[str] = field(default_factory=Counter)

    def begin(self, user: str, item: str) -> Interaction:
        event = Interaction(
            user_id=user,
            session_id="soak",
            item_id=item,
            event_type="watch",
            event_value=None,
            sent_at=time.time(),
            event_id=f"{user}-{len(self.begun[user])}",
        )
        self.begun[user].append(event)
        return event


@dataclass(frozen=True)
class Asked:
    """An answer, and what was known before and after it: acknowledged and begun events, versions that might answer."""

    url: str
    user: str
    answer: Mapping[str, Any]
    versions: frozenset[str]
    events: range
    times: tuple[float, float]


class Soak:
    """What all threads share."""

    def __init__(self, system: LocalSystem, life: ResourceLife, data: Path) -> None:
        self.system = system
        self.aws = life.aws
        self.ledger = Ledger()
        self.counts: Counter[str] = Counter()
        self.wrong: list[Asked] = []
        self.resident: list[int] = []
        self.over = threading.Event()
        self._lock = threading.Lock()
        with (data / "interactions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.users = sorted({row["USER_ID"] for row in rows})
        self.items = sorted({row["ITEM_ID"] for row in rows})
        group = life.create_dataset_group()
        [interactions] = tables.read_tables(data)
        self.dataset = life.create_dataset(group, interactions.dataset_type, interactions.schema)
        life.import_dataset(self.dataset, "soak", "s3://data/interactions.csv")
        self.versions = [self._trained(life, group, width) for width in WIDTHS]
        self.campaign = life.deploy_campaign(self.versions[0])
        self.answering = frozenset(self.versions[:1])
        self.tracking_id = life.create_event_tracker(group)
        artifacts = Artifacts(system.data_dir.path / "artifacts")
        self.scorers: dict[str, Scorer] = {arn: Hrnn.load(artifacts.open_artifact(arn)) for arn in self.versions}
        self.beside = [further.start("runtime", system.data_dir.path, system.client) for _ in range(2)]
        for one in self.beside:
            further.wait_for(one)

    def _trained(self, life: ResourceLife, group: str, width: str) -> str:
        solution = self.aws.control.create_solution(
            name=f"soak-{width}",
            datasetGroupArn=group,
            recipeArn=HRNN,
            solutionConfig={"algorithmHyperParameters": {"hidden_dimension": width}},
        )["solutionArn"]
        life.wait_until_usable("solution", solution)
        return life.create_solution_version(solution)

    @property
    def urls(self) -> list[str]:
        return [self.system.url, *(one.url for one in self.beside)]

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    # What the threads do

    def read(self, number: int) -> None:
        chance, clients = random.Random(number), Clients(self.system.client)
        for turn in itertools.count(number):
            if self.over.wait(PAUSE):
                return
            user = chance.choice(self.users)
            versions, acknowledged, began = self.answering, self.ledger.acknowledged[user], time.time()
            urls = self.urls
            url = urls[turn % 3]
            try:
                answer = clients.ask(url, self.campaign, user)
            except REFUSED:
                self.count("asked again")
                url = urls[(turn + 1) % 3]
                try:
                    answer = clients.ask(url, self.campaign, user)
                except REFUSED as error:
                    self.count("failed")
                    print(f"failed twice: {error}")
                    continue
            times = (began, time.time())
            events = range(acknowledged, len(self.ledger.begun[user]) + 1)
            if STALENESS_HEADER in answer["ResponseMetadata"]["HTTPHeaders"]:
                self.count("stale")
                events = range(events.stop)
            asked = Asked(url, user, answer, versions | self.answering, events, times)
            self.count("answers")
            if not self.is_right(asked):
                print(f"wrong, at {time.strftime('%T')}, beside {self.urls}: {asked}")
                self.wrong.append(asked)

    def is_right(self, asked: Asked) -> bool:
        moments = (*asked.times, *np.linspace(*asked.times, 20))
        return any(
            agrees(asked.answer.get("itemList", []), self.scorers[version].item_ids, scores)
            for now in moments
            for version in asked.versions
            for scores in self._scores(version, asked, now)
        )

    def _scores(self, version: str, asked: Asked, now: float) -> Iterator[npt.NDArray[np.float32]]:
        scorer = self.scorers[version]
        for count in asked.events:
            history = merge_history(scorer.history(asked.user), self.ledger.begun[asked.user][:count][-RECENT_LIMIT:])
            # A user of its own for each question: it is the whole history that is scored here.
            yield scorer.scores(Query(now=now, user_id=str(uuid.uuid4()), history=history))

    def write(self, number: int) -> None:
        chance = random.Random(number)
        events = connect(self.system.client).events
        mine = self.users[number::WRITERS]
        while not self.over.wait(PAUSE * 2):
            user = chance.choice(mine)
            request = self.request(user, [self.ledger.begin(user, chance.choice(self.items))])
            while not acknowledged(events, request):
                self.count("sent again")
            self.ledger.acknowledged[user] += 1
            self.count("events")

    def fill(self) -> None:
        """As many events of every user as are remembered: from now on no process has more to remember."""
        events = connect(self.system.client).events
        for user in self.users:
            for _ in range(0, RECENT_LIMIT, AT_ONCE):
                events.put_events(
                    **self.request(user, [self.ledger.begin(user, item) for item in self.items[:AT_ONCE]])
                )
                self.ledger.acknowledged[user] += AT_ONCE
        print(f"every user has {RECENT_LIMIT} live events")

    def request(self, user: str, events: Sequence[Interaction]) -> dict[str, Any]:
        """Of PutEvents."""
        sent = [
            {"eventId": one.event_id, "eventType": one.event_type, "itemId": one.item_id, "sentAt": one.sent_at}
            for one in events
        ]
        return {"trackingId": self.tracking_id, "userId": user, "sessionId": "soak", "eventList": sent}

    def swap(self) -> None:
        control = self.aws.control
        for version in itertools.cycle(reversed(self.versions)):
            if self.over.wait(SWAP_EVERY):
                return
            self.answering = self.answering | {version}
            control.update_campaign(campaignArn=self.campaign, solutionVersionArn=version)
            while control.describe_campaign(campaignArn=self.campaign)["campaign"]["solutionVersionArn"] != version:
                time.sleep(0.1)
            self.answering = frozenset({version})
            self.count("swaps")

    def kill(self) -> None:
        wait = FIRST_KILL
        for number in itertools.count():
            if self.over.wait(wait):
                return
            wait = KILL_EVERY
            if number % 2:
                os.killpg(self.system.supervisor.pids["runtime"], signal.SIGKILL)
            else:
                self.beside[0].kill()
                started = further.start("runtime", self.system.data_dir.path, self.system.client)
                # Until it answers, readers find the place empty and ask another.
                further.wait_for(started)
                self.beside[0] = started
            self.count("kills")

    def watch(self) -> None:
        while not self.over.wait(WATCH_EVERY):
            self.resident.append(resident(self.beside[1].pids))


def acknowledged(events: Any, request: Mapping[str, Any]) -> bool:
    try:
        events.put_events(**request)
    except REFUSED:
        return False
    return True


class Clients:
    """boto3's clients of one thread, by URL, which do not try again by themselves."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._session = boto3.Session(
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            region_name=keys["AWS_REGION"],
        )
        self._config = Config(retries={"total_max_attempts": 1}, proxies={})
        self._clients: dict[str, Any] = {}

    def ask(self, url: str, campaign: str, user: str) -> Mapping[str, Any]:
        if url not in self._clients:
            self._clients[url] = self._session.client("personalize-runtime", endpoint_url=url, config=self._config)
        answer: Mapping[str, Any] = self._clients[url].get_recommendations(
            campaignArn=campaign, userId=user, numResults=RESULTS
        )
        return answer


def agrees(rows: Sequence[Mapping[str, Any]], item_ids: Sequence[str], scores: npt.NDArray[np.float32]) -> bool:
    """Are these the best items, with these scores? Near ties may stand in either order."""
    places = [item_ids.index(row["itemId"]) for row in rows]
    near = scores[places] * 1e-3 + 2e-7
    if len(set(places)) != RESULTS or not (np.abs(scores[places] - [row["score"] for row in rows]) <= near).all():
        return False
    others = np.delete(scores, places)
    return bool(others.max() <= scores[places].min() + near.max())


def resident(pids: Sequence[int]) -> int:
    """Bytes of memory that these processes hold."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def lost(soak: Soak) -> list[str]:
    """Event ids that were acknowledged and are not there once, or are there and were never sent."""
    store = RedisStore(further.redis_url(soak.system.data_dir.path))
    events = iter_live_events(store, Artifacts(soak.system.data_dir.path / "artifacts"), soak.dataset)
    kept = Counter(str(event.event_id) for event in events)
    begun = {str(event.event_id) for events in soak.ledger.begun.values() for event in events}
    safe = {
        str(event.event_id)
        for user, count in soak.ledger.acknowledged.items()
        for event in soak.ledger.begun[user][:count]
    }
    whole = {one for one in begun if kept[one] == 1 or (kept[one] == 0 and one not in safe)}
    return sorted((begun | kept.keys()) - whole)


def run(soak: Soak, seconds: float) -> bool:
    """Whether all went as it must."""
    soak.fill()
    threads: list[Callable[[], None]] = [soak.swap, soak.kill, soak.watch]
    with ThreadPoolExecutor(READERS + WRITERS + len(threads)) as pool:
        running = [pool.submit(one) for one in threads]
        running += [pool.submit(soak.read, number) for number in range(READERS)]
        running += [pool.submit(soak.write, number) for number in range(WRITERS)]
        time.sleep(seconds)
        soak.over.set()
        for one in running:
            one.result()
    missing = lost(soak)
    quarter = len(soak.resident) // 4
    before, after = median(soak.resident[quarter : 2 * quarter]), median(soak.resident[-quarter:])
    growth = after / before - 1
    minute = round(60 / WATCH_EVERY)
    minutes = [soak.resident[begin : begin + minute] for begin in range(0, len(soak.resident), minute)]
    print(", ".join(f"{number} {what}" for what, number in soak.counts.items()))
    print(f"lost or doubled events: {len(missing)}; wrong answers: {len(soak.wrong)}")
    print(f"memory of a runtime, MiB, each minute: {', '.join(f'{median(one) / 2**20:.1f}' for one in minutes)}")
    print(f"in the second quarter and the last: {before / 2**20:.1f} and {after / 2**20:.1f} ({growth:+.1%})")
    return not missing and not soak.wrong and not soak.counts["failed"] and growth < GROWTH


def shortened(data: Path) -> None:
    """The demo's films, as some of their users saw them."""
    demo_catalogue.write_demo_data(data)
    path = data / "interactions.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    users = set(sorted({row[0] for row in rows[1:]})[:USERS])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *(row for row in rows[1:] if row[0] in users)])
    for other in data.glob("*.csv"):
        if other != path:
            other.unlink()


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        data = Path(scratch) / "films"
        shortened(data)
        wishes = SystemOptions(data_dir=Path(scratch) / "system", buckets={"data": data})
        system = stack.enter_context(run_local_system(wishes, say=print, stopping=threading.Event()))
        soak = Soak(system, ResourceLife(connect(system.client), "soak"), data)
        stack.callback(lambda: [one.kill() for one in soak.beside])
        well = run(soak, minutes * 60)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
