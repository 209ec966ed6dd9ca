"""A life on a running system: events are written, recommendations read, resources made, looked at and deleted."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.aws import arns
from tests.chaos.ledger import Ledger
from tests.conftest import System
from tests.operations.conftest import INTERACTIONS, POPULARITY, Maker
from tests.unit.state_machine import rules

REFUSED = (BotoCoreError, ClientError)
SLEEPING = "arn:aws:personalize:::recipe/sleeping"
USE_CASE = "arn:aws:personalize:::recipe/aws-ecomm-popular-items-by-views"
DOMAIN = {"domain": "ECOMMERCE"}
ROWS = 1200
#: Of the small lives that are built, so many are quick, and come first.
QUICK = 2
#: Of one call (seconds), and how often an SDK tries it.
PATIENCE, TRIES = 15, 8
#: A resource of the life's own comes to rest within so long (seconds), or is stuck.
LONG = 240.0
HPO = {
    "hpoConfig": {"hpoResourceConfig": {"maxNumberOfTrainingJobs": "4", "maxParallelTrainingJobs": "2"}},
    "algorithmHyperParameters": {"milliseconds": "800"},
}


class Watched:
    """A boto3 client whose answers go into the ledger: what is made, what is refused, and every try's status."""

    def __init__(self, client: Any, ledger: Ledger) -> None:
        self._client, self._ledger = client, ledger
        self.exceptions = client.exceptions
        client.meta.events.register("needs-retry", self._tried)

    def _tried(self, response: Any, operation: Any, **_more: Any) -> None:
        """Each try of the SDK's, before it decides on another."""
        if response is None:
            return
        status, error = response[0].status_code, response[1].get("Error", {})
        if status >= 500 and status != 503:
            self._ledger.breach(f"{operation.name} was answered {status}: {error.get('Code')} {error.get('Message')}")

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        verb, _, noun = name.partition("_")
        if verb not in ("create", "delete"):
            return method

        def call(**request: Any) -> Any:
            if verb == "delete":
                arn = next(value for member, value in request.items() if member.endswith("Arn"))
                self._ledger.removed.add(arn)
                answer = method(**request)
                self._ledger.gone.add(arn)
                return answer
            answer = method(**request)
            arn = next(value for member, value in answer.items() if member.endswith("Arn"))
            self._ledger.made[arn] = noun
            return answer

        return call


class Life:
    """``rich``: with HPO, recommenders and repeated lives; else one after another of what is quick."""

    def __init__(self, system: System, seed: int, *, rich: bool) -> None:
        self.system, self.rich = system, rich
        self.ledger = Ledger()
        self.over = threading.Event()
        self._chance = random.Random(seed)
        self._threads: list[threading.Thread] = []
        self.maker = Making(self.client("personalize"), system.folder)
        self.dataset = self.campaign = self.tracking_id = ""
        self._versions: list[str] = []

    def client(self, service: str, *, tries: int = TRIES) -> Any:
        known = self.system.environment
        config = Config(
            retries={"mode": "standard", "total_max_attempts": tries},
            read_timeout=PATIENCE,
            connect_timeout=PATIENCE,
            proxies={},
        )
        client = boto3.client(
            service,
            endpoint_url=known["AWS_ENDPOINT_URL_" + service.upper().replace("-", "_")],
            region_name=known["AWS_REGION"],
            aws_access_key_id=known["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=known["AWS_SECRET_ACCESS_KEY"],
            config=config,
        )
        return Watched(client, self.ledger)

    def begin(self) -> None:
        """What stands all the while: a campaign with two models, and an event tracker."""
        make = self.maker
        group = make.group()
        self.dataset = make.dataset(group)
        assert make.imported(self.dataset, make.csv(rows=ROWS))["status"] == "ACTIVE"
        solution = make.solution(group, POPULARITY, performAutoTraining=False)
        for _ in range(2):
            version = make.trained(solution)
            assert version["status"] == "ACTIVE", version
            self._versions.append(version["solutionVersionArn"])
        created = make.client.create_campaign(name=make.name(), solutionVersionArn=self._versions[0])
        self.campaign = str(created["campaignArn"])
        assert make.settled("campaign", "campaign", self.campaign)["status"] == "ACTIVE"
        _, self.tracking_id = make.tracker(group)
        work = [self._write, self._write, self._read, self._build, self._swap, self._watch]
        for number, each in enumerate(work):
            thread = threading.Thread(target=self._guarded, args=(each, number), name=each.__name__, daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self, seconds: float) -> None:
        """Whoever is at something finishes it."""
        self.over.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
            if thread.is_alive():
                self.ledger.breach(f"{thread.name} had not come to an end {seconds:.0f} s after the last fault")

    def _guarded(self, each: Callable[[int], None], number: int) -> None:
        try:
            each(number)
        except Exception as error:  # a thread of a test must not end in silence
            self.ledger.breach(f"{each.__name__} ended with {type(error).__name__}: {error}")

    # Events

    def _write(self, number: int) -> None:
        """Numbered events, each sent until it is acknowledged: again under its own id, as AWS asks."""
        events, who = self.client("personalize-events", tries=2), f"writer {number}"
        for count in itertools.count():
            if self.over.wait(0.03):
                return
            event_id = f"{number}-{count}"
            self.ledger.events[event_id] = None
            sent = {"eventId": event_id, "eventType": "watch", "itemId": f"i{count % 20}", "sentAt": time.time()}
            while not self._put(events, number, sent):
                time.sleep(0.05)
            self.ledger.events[event_id] = time.monotonic()
            self.ledger.answered[who].append(time.monotonic())

    def _put(self, events: Any, number: int, sent: Mapping[str, Any]) -> bool:
        try:
            events.put_events(
                trackingId=self.tracking_id, userId=f"w{number}", sessionId="chaos", eventList=[dict(sent)]
            )
        except REFUSED as error:
            if isinstance(error, ClientError) and not _away(error):
                self.ledger.breach(f"PutEvents was refused: {error}")
            return False
        return True

    # Recommendations

    def _read(self, number: int) -> None:
        runtime, who = self.client("personalize-runtime", tries=2), f"reader {number}"
        while not self.over.wait(0.03):
            user = f"u{self._chance.randrange(40)}"
            try:
                listed = runtime.get_recommendations(campaignArn=self.campaign, userId=user, numResults=10)
            except REFUSED as error:
                if isinstance(error, ClientError) and not _away(error):
                    self.ledger.breach(f"GetRecommendations was refused: {error}")
                continue
            if len(listed["itemList"]) != 10:
                self.ledger.breach(f"GetRecommendations answered {len(listed['itemList'])} of 10 items")
            self.ledger.answered[who].append(time.monotonic())

    def _swap(self, _number: int) -> None:
        """The campaign moves from one model to the other."""
        for version in itertools.cycle(reversed(self._versions)):
            if self.over.wait(4.0):
                return
            self._insist(
                lambda version=version: self.maker.client.update_campaign(
                    campaignArn=self.campaign, solutionVersionArn=version
                ),
                "ResourceInUseException",
            )

    # Resources

    def _build(self, _number: int) -> None:
        """One small life after the other, each taken down in the end, but for some that stay."""
        lives = [self._solution_life, self._filter_life, self._tuned_life, self._recommender_life]
        lived: set[int] = set()
        for number in itertools.count():
            # On a busy machine, too, each of the quick ones is lived to its end once.
            if self.over.is_set() and lived >= set(range(QUICK)):
                return
            place = number % (len(lives) if self.rich else QUICK)
            try:
                lives[place]()
                lived.add(place)
            except REFUSED as error:
                # A Create of which nobody knows how it went: that life is given up, and the next one begun.
                if isinstance(error, ClientError) and not _away(error):
                    raise
            except OSError:
                time.sleep(1.0)  # the disk is full: there is no room for the file that this client brings

    def _solution_life(self) -> None:
        make = self.maker
        group = self.maker.group()
        dataset = make.dataset(group, make.schema())
        make.imported(dataset, make.csv(rows=ROWS))
        solution = make.solution(group, POPULARITY, performAutoTraining=False)
        version = make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"]
        if self._chance.random() < 0.2:
            self._insist(
                lambda: make.client.stop_solution_version_creation(solutionVersionArn=version),
                *("ResourceInUseException", "InvalidInputException"),
            )
        trained = make.settled("solution_version", "solutionVersion", version, LONG)
        if trained["status"] == "ACTIVE":
            campaign = make.client.create_campaign(name=make.name(), solutionVersionArn=version)["campaignArn"]
            make.settled("campaign", "campaign", campaign, LONG)
            self._delete("campaign", campaign)
        self._delete("solution", solution)
        self._delete("dataset", dataset)
        self._delete("dataset_group", group)

    def _filter_life(self) -> None:
        make = self.maker
        group = self.maker.group()
        dataset = make.dataset(group, make.schema())
        made = make.client.create_filter(
            name=make.name(),
            datasetGroupArn=group,
            filterExpression='EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")',
        )["filterArn"]
        make.settled("filter", "filter", made, LONG)
        tracker, _ = make.tracker(group)
        self._delete("filter", made)
        self._delete("event_tracker", tracker)
        self._delete("dataset", dataset)
        self._delete("dataset_group", group)

    def _tuned_life(self) -> None:
        """HPO of a recipe whose trials only sleep."""
        make = self.maker
        group = self.maker.group()
        dataset = make.dataset(group, make.schema())
        make.imported(dataset, make.csv(rows=ROWS))
        solution = make.solution(group, SLEEPING, performHPO=True, performAutoTraining=False, solutionConfig=HPO)
        version = make.client.create_solution_version(solutionArn=solution)["solutionVersionArn"]
        make.settled("solution_version", "solutionVersion", version, LONG)
        self._delete("solution", solution)

    def _recommender_life(self) -> None:
        make = self.maker
        group = self.maker.group(**DOMAIN)
        fields = [*INTERACTIONS["fields"][:4]]
        dataset = make.dataset(group, make.schema({**INTERACTIONS, "fields": fields}, **DOMAIN))
        rows = [(f"u{n % 40}", f"i{n % 20}", 1_600_000_000 + n, "View") for n in range(ROWS)]
        make.imported(dataset, make.file("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE", rows))
        created = make.client.create_recommender(name=make.name(), datasetGroupArn=group, recipeArn=USE_CASE)
        arn = created["recommenderArn"]
        settled = make.settled("recommender", "recommender", arn, LONG)
        if settled["status"] == "ACTIVE":
            self._insist(lambda: make.client.stop_recommender(recommenderArn=arn), "ResourceInUseException")
            make.settled("recommender", "recommender", arn, LONG)
        self._delete("recommender", arn)

    def _delete(self, kind: str, arn: str) -> None:
        """And wait until it has gone. A repeated delete finds that the first one has begun, or is done."""
        member = "".join(word.title() for word in kind.split("_"))
        member = f"{member[0].lower()}{member[1:]}"
        self._insist(
            lambda: getattr(self.maker.client, f"delete_{kind}")(**{f"{member}Arn": arn}),
            *("ResourceNotFoundException", "ResourceInUseException"),
        )
        self.maker.gone(kind, member, arn)

    def _insist(self, call: Callable[[], Any], *expected: str) -> None:
        """Until it is answered; a refusal with one of the ``expected`` codes is an answer."""
        for _ in range(20):
            try:
                call()
            except REFUSED as error:
                if isinstance(error, ClientError) and error.response["Error"]["Code"] in expected:
                    return
                if isinstance(error, ClientError) and not _away(error):
                    self.ledger.breach(f"refused: {error}")
                    return
                time.sleep(0.2)
            else:
                return
        self.ledger.breach("a call was not answered in 20 tries")

    def _watch(self, _number: int) -> None:
        """Looks at all there is, one after the other: no status follows another that it can't follow."""
        client = self.client("personalize")
        while not self.over.wait(0.05):
            known = [arn for arn in list(self.ledger.made) if arn not in self.ledger.removed]
            if known:
                self.look(client, self._chance.choice(known[-12:]))

    def look(self, client: Any, arn: str) -> Mapping[str, Any] | None:
        """What Describe shows; None where there is nothing, or no answer."""
        kind = arns.parse_noun(arn) or ""
        if rules.FIRST.get(kind, "") is None:
            return None
        camel = "".join(word.title() for word in kind.split("_"))
        camel = camel[0].lower() + camel[1:]
        try:
            shown = getattr(client, f"describe_{kind}")(**{f"{camel}Arn": arn})[camel]
        except REFUSED as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if code == "ResourceNotFoundException" and arn not in self.ledger.removed and not self._owner_removed(arn):
                self.ledger.breach(f"{arn} was acknowledged and is not found")
            return None
        self.ledger.saw(arn, kind, shown["status"], shown.get("failureReason"))
        found: Mapping[str, Any] = shown
        return found

    def _owner_removed(self, arn: str) -> bool:
        """What vanishes with another: versions with their solution, import jobs with some dataset."""
        kind = arns.parse_noun(arn) or ""
        owner = rules.VANISHES_WITH.get(kind)
        if kind == "solution_version":
            return arn.rpartition("/")[0] in self.ledger.removed
        return owner is not None and any(arns.parse_noun(one) == owner for one in self.ledger.removed)


class Making(Maker):
    """A Maker that goes on while nobody answers."""

    def __init__(self, client: Any, folder: Path) -> None:
        super().__init__(client=_Insisting(client), folder=folder)

    def settled(self, operation: str, member: str, arn: str, seconds: float = LONG) -> dict[str, Any]:
        return super().settled(operation, member, arn, max(seconds, LONG))

    def gone(self, operation: str, member: str, arn: str, seconds: float = LONG) -> None:
        super().gone(operation, member, arn, max(seconds, LONG))


class _Insisting:
    """A client that goes on asking when the SDK gives up. A Create is not repeated: that would be another call."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name.startswith("create"):
            return method

        def call(**request: Any) -> Any:
            deadline = time.monotonic() + LONG
            while True:
                try:
                    return method(**request)
                except REFUSED as error:
                    if (isinstance(error, ClientError) and not _away(error)) or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)

        return call


def _away(error: ClientError) -> bool:
    """Said by somebody who can't answer now."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"]) == 503
