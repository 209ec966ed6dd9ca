"""Clients of a simulated system, and what they were promised."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shared.resources import RESOURCES
from tests.simulation.edges import AT_ONCE, Reply, noun
from tests.simulation.system import AWAY, Answered, System
from tests.simulation.world import Task
from tests.unit.state_machine import rules
from tests.unit.state_machine.control_plane import Refused
from tests.unit.state_machine.requests import CREATIONS, SEGMENTS, UPDATES, VIDEO, Wish, some
from tests.unit.state_machine.rules import Model

#: In which order the first client furnishes its dataset group.
FIRST = (
    *("dataset_group", "schema", "dataset", "event_tracker", "dataset_import_job"),
    *("solution", "solution_version", "campaign", "filter"),
)
OF_SEGMENTS = (*(kind for kind in FIRST if kind != "campaign"), "batch_segment_job")
OF_A_DOMAIN = ("dataset_group", "schema", "dataset", "event_tracker", "recommender")
UNAVAILABLE, MISSING = Refused(AWAY), Refused("ResourceNotFoundException")
TRIES = 4
#: Of one try (seconds).
PATIENCE = 6.0
HPO = {
    "performHPO": True,
    "solutionConfig": {
        "hpoConfig": {
            "hpoResourceConfig": {"maxNumberOfTrainingJobs": "3", "maxParallelTrainingJobs": str(AT_ONCE)},
        }
    },
}


@dataclass
class Asked:
    """A call, from its beginning until its end; ``kept`` when it was answered well."""

    began: float
    ended: float = float("inf")
    kept: bool = False


@dataclass
class Ledger:
    """What was asked, and what was promised."""

    made: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    removed: defaultdict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[str, str] = field(default_factory=dict)
    """What a resource vanishes with."""
    events: dict[str, tuple[str, Asked]] = field(default_factory=dict)
    """By the item that each names alone: its dataset."""
    counts: Counter[str] = field(default_factory=Counter)

    def stands(self, arn: str) -> bool | None:
        """Must it be there in the end (True) or not (False)? None: nobody can say."""
        kept = [one for one in self.made[arn] if one.kept]
        removals = [*self.removed[arn], *self.removed[self.owners.get(arn, "")]]
        if kept and all(removal.ended < kept[-1].began for removal in removals):
            return True
        gone = [one for one in self.removed[arn] if one.kept]
        if gone and all(made.ended < gone[-1].began for made in self.made[arn]):
            return False
        return None


class Clients:
    """``count`` clients that work for so many seconds, each in a thread of its own."""

    def __init__(self, system: System, count: int, seconds: float) -> None:
        self.system, self.world, self.chance = system, system.world, system.world.chance
        self.ledger = Ledger()
        self.standing = Model()
        self.trackers: list[tuple[str, str]] = []
        self.working = count
        self._until = self.world.now + seconds
        self._calls = 0
        #: Clients of whose last call a try was given up, and may be under way still.
        self._hanging: set[Task] = set()
        for number in range(count):
            process = self.world.process(f"client-{number}")
            self.world.spawn(process, "life", lambda number=number: self._live(number))

    @property
    def _me(self) -> Task:
        assert self.world.task is not None
        return self.world.task

    def _live(self, number: int) -> None:
        if number == 0:
            self._furnish()
        while self.world.now < self._until:
            self._something()
            self.world.pause(self.chance.choice((0.05, 0.5, 2.0)))
        self.working -= 1

    def _furnish(self) -> None:
        kind_of_life = self.chance.random()
        kinds: tuple[str, ...] = FIRST
        last = "a"
        if kind_of_life < 0.3:
            kinds, last = OF_A_DOMAIN, VIDEO
        elif kind_of_life > 0.9:
            kinds, last = OF_SEGMENTS, SEGMENTS

        def pick(choices: Sequence[str]) -> str:
            return next((choice for choice in choices if choice.endswith(last)), choices[0])

        for kind in kinds:
            wish = CREATIONS[kind](self.standing, pick)
            if kind == "solution" and self.chance.random() < 0.3:
                wish = replace(wish, request={**wish.request, **HPO})
            while self.world.now < self._until and not isinstance(arn := self.create(wish), str):
                self.world.pause(1.0)
                if isinstance(arn, Refused) and arn.code == "ResourceAlreadyExistsException":
                    break
            if isinstance(arn, str):
                self._until_active(kind, arn)

    def _until_active(self, kind: str, arn: str) -> None:
        deadline = self.world.now + 15
        while self.world.now < min(deadline, self._until):
            shown = self.describe(kind, arn)
            if shown is None or shown.get("status") in (None, *rules.AT_REST):
                return
            self.world.pause(1.0)

    def _something(self) -> None:
        chance = self.chance
        match chance.choices(tuple(DEEDS), cum_weights=OFTEN)[0]:
            case "create":
                kind = chance.choice(tuple(CREATIONS))
                self.create(CREATIONS[kind](self.standing, chance.choice))
            case "delete":
                # What much stands on goes seldom: other faults need it.
                kind = chance.choice(("campaign", "filter", "event_tracker", "recommender", "solution", *DELETED))
                self.delete(kind, some(kind, self.standing, chance.choice))
            case "update":
                kind = chance.choice(tuple(UPDATES))
                arn = some(kind, self.standing, chance.choice)
                self.call(f"Update{RESOURCES[kind].name}", UPDATES[kind](arn, self.standing, chance.choice).request)
            case "stop":
                arn = some("solution_version", self.standing, chance.choice)
                self.call("StopSolutionVersionCreation", {"solutionVersionArn": arn})
            case "switch":
                arn = some("recommender", self.standing, chance.choice)
                self.call(chance.choice(("StopRecommender", "StartRecommender")), {"recommenderArn": arn})
            case "put":
                self.put()
            case "renew":
                self._renew(chance.choice(("filter", "metric_attribution", "campaign", "solution")))
            case "race":
                self._race()
            case "look":
                kind = chance.choice(tuple(CREATIONS))
                self.describe(kind, some(kind, self.standing, chance.choice))

    def _renew(self, kind: str) -> None:
        """Delete one, wait until it has gone, and make one of its name."""
        standing = self.standing.of(kind)
        if not standing:
            return
        one = self.chance.choice(standing)
        self.delete(kind, one.arn)
        for _ in range(8):
            if self.describe(kind, one.arn) is None:
                break
            self.world.pause(0.5)
        self.create(CREATIONS[kind](self.standing, lambda choices: one.name if one.name in choices else choices[0]))

    def _race(self) -> None:
        """Make a resource while what it stands on is deleted."""
        kind, under = self.chance.choice(tuple(RACES))
        parents = [one.arn for one in self.standing.of(under)]
        if not parents:
            return
        parent = self.chance.choice(parents)
        wish = CREATIONS[kind](
            self.standing, lambda choices: parent if parent in choices else self.chance.choice(choices)
        )
        self.world.spawn(self._me.process, "beside", lambda: self.delete(under, parent))
        self.create(wish)

    # What a client does

    def create(self, wish: Wish) -> str | Refused | None:
        """The ARN, a refusal, or None when no answer came."""
        resource = RESOURCES[wish.kind]
        asked = Asked(self.world.now)
        answer = self.call(f"Create{resource.name}", wish.request)
        self._over(asked)
        if not isinstance(answer, Answered):
            if answer is None or self._me in self._hanging:
                self._maybe_made(wish, asked)
            return answer
        arn = str(answer.members[resource.arn_member])
        asked.kept = True
        self.ledger.made[arn].append(asked)
        owner = rules.VANISHES_WITH.get(wish.kind)
        self.ledger.owners[arn] = next((use for use in wish.uses if noun(use) == owner), "")
        self.standing.born(arn, wish.kind, wish.name or arn, wish.uses, 0)
        if wish.kind == "event_tracker":
            dataset = wish.uses[0].replace(":dataset-group/", ":dataset/") + "/INTERACTIONS"
            self.trackers.append((answer.members["trackingId"], dataset))
        return arn

    def _maybe_made(self, wish: Wish, asked: Asked) -> None:
        """It may stand all the same; whatever has the name now."""
        for arn in {*self.ledger.made, *self.ledger.removed}:
            if arn.endswith(f"/{wish.name}") or wish.kind in ("dataset", "solution_version"):
                self.ledger.made[arn].append(asked)

    def delete(self, kind: str, arn: str) -> None:
        asked = Asked(self.world.now)
        self.ledger.removed[arn].append(asked)
        answer = self.call(f"Delete{RESOURCES[kind].name}", {RESOURCES[kind].arn_member: arn})
        self._over(asked)
        asked.kept = isinstance(answer, Answered)
        if isinstance(answer, Answered):
            # A client that deletes looks for it no more.
            self._forget(arn)

    def _forget(self, arn: str) -> None:
        if arn in self.standing.known:
            self.standing.died(arn)

    def describe(self, kind: str, arn: str) -> Mapping[str, Any] | None:
        resource = RESOURCES[kind]
        answer = self.call(f"Describe{resource.name}", {resource.arn_member: arn})
        if answer == MISSING:
            self._forget(arn)
        return answer.members[resource.camel] if isinstance(answer, Answered) else None

    def put(self) -> None:
        if not self.trackers:
            return
        tracking_id, dataset = self.chance.choice(self.trackers)
        self._calls += 1
        item = f"item-{self._calls}"
        event = {"eventType": "watch", "itemId": item, "sentAt": int(self.world.now)}
        if self.chance.random() < 0.5:
            event["eventId"] = item
        asked = Asked(self.world.now)
        self.ledger.events[item] = (dataset, asked)
        request = {"trackingId": tracking_id, "userId": "u", "sessionId": "s", "eventList": [event]}
        asked.kept = isinstance(self.call("PutEvents", request, to="events"), Answered)
        self._over(asked)

    def _over(self, asked: Asked) -> None:
        """Unless a try of this client's last call still hangs somewhere: it may be carried out at any time."""
        if self._me not in self._hanging:
            asked.ended = self.world.now

    def call(self, operation: str, request: Mapping[str, Any], to: str = "api") -> Answered | Refused | None:
        """As an SDK does: again when no answer came, with the same invocation id. None: given up."""
        self._calls += 1
        invocation = f"i{self._calls}"
        self._hanging.discard(self._me)
        for _ in range(TRIES):
            answer = self._try(operation, request, invocation, to)
            self.ledger.counts[answer.code if isinstance(answer, Refused) else type(answer).__name__] += 1
            if answer is not None and answer != UNAVAILABLE:
                self.world.tell("HEARS", operation, answer)
                return answer
            self.world.pause(self.chance.choice((0.05, 0.3, 2.0)))
        self.world.tell("GIVES UP", operation, dict(request))
        return None

    def _try(self, operation: str, request: Mapping[str, Any], invocation: str, to: str) -> Answered | Refused | None:
        there = self.system.of(to)
        self.world.step("asks", operation, request)
        if not there:
            return None
        server, reply = self.chance.choice(there), Reply(self.world)
        server.at_death.append(reply.lose)
        if server.dead:
            return None
        self.world.spawn(server, operation, lambda: reply.give(self.system.serve(to, operation, request, invocation)))
        heard = reply.wait(PATIENCE)
        if not heard and not reply.lost:
            self._hanging.add(self._me)
        if reply.lose in server.at_death:
            server.at_death.remove(reply.lose)
        return reply.answer if heard else None


#: What clients do, and how often.
DEEDS: Mapping[str, int] = {
    "create": 8,
    "delete": 2,
    "update": 2,
    "stop": 1,
    "switch": 1,
    "put": 6,
    "look": 1,
    "renew": 1,
    "race": 3,
}
OFTEN = tuple(itertools.accumulate(DEEDS.values()))
#: What is made while what it stands on is deleted.
RACES = (
    *(("dataset_import_job", "dataset"), ("campaign", "solution"), ("solution_version", "solution")),
    *(("solution", "dataset_group"), ("event_tracker", "dataset_group"), ("dataset", "dataset_group")),
    *(("filter", "dataset_group"), ("dataset", "schema"), ("batch_inference_job", "solution")),
)
DELETED = ("metric_attribution", "dataset", "dataset_group", "schema")
