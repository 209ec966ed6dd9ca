"""One simulated life, decided by its seed: faults for a while, then peace, then everything must be as promised."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from shared.resources import RESOURCES
from tests.simulation.clients import Clients
from tests.simulation.edges import Faults, noun
from tests.simulation.system import Answered, System, simulated
from tests.simulation.world import EPOCH, World

#: How long clients live and faults happen, and how long after that everything must have come to rest (seconds).
#: The time in which a job is at work does not count, up to a limit: an epoch takes up to 40 s, and jobs queue.
TROUBLE, PEACE, LONGEST_PEACE = 40.0, 120.0, 600.0
#: How often something befalls a process (seconds, on average).
EVERY = 3.0


def _messages(name: str, share: float) -> Callable[[Faults, Any], None]:
    return lambda faults, chance: setattr(faults, name, chance.choice((share / 4, share)))


#: Kinds of fault that are there all the time.
SHARES: Mapping[str, Callable[[Faults, Any], None]] = {
    "lost": _messages("lost", 0.3),
    "doubled": _messages("doubled", 0.3),
    "late": _messages("late", 0.3),
    "reordered": _messages("reordered", 0.5),
    "cut": _messages("cut", 0.02),
    "child": _messages("child", 0.3),
    "hung": _messages("hung", 0.3),
}


def _crash(system: System, chance: Any) -> None:
    one = chance.choice(list(system.running))
    one.dies_in = chance.choice((0, 1, 2, 3, 5, 8, 13, 21, 40))


def _hang(system: System, chance: Any) -> None:
    # Half of the time one that has work in hand.
    at_work = system.children.workers() if chance.random() < 0.5 else []
    one = chance.choice(at_work or list(system.running))
    seconds = chance.choice((1.0, 5.0, 18.0, 40.0))
    system.world.tell("STOPPED", one.name, seconds)
    one.stopped_until = max(one.stopped_until, system.world.now + seconds)


def _end(system: System, chance: Any) -> None:
    system.stop(chance.choice(list(system.running)))


def _redis(system: System, chance: Any) -> None:
    system.world.tell("REDIS AWAY")
    system.faults.redis_back = system.world.now + chance.choice((0.2, 1.0, 5.0, 20.0))


#: Kinds of fault that befall a process now and then.
BLOWS: Mapping[str, Callable[[System, Any], None]] = {"crash": _crash, "stopped": _hang, "ended": _end, "redis": _redis}
#: The clocks of processes are off by so many seconds.
SKEWS: Mapping[str, tuple[float, ...]] = {"skew": (0.0, -1.5, 0.4, 1.5), "hours": (0.0, -3600.0, 600.0, 3600.0)}
KINDS = (*SHARES, *BLOWS, *SKEWS)


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Switch the collector off for the block: nearly all that a life makes is in use until the life ends."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Simulation:
    """``kinds`` are those of which this seed's faults are drawn."""

    def __init__(self, seed: int, kinds: Collection[str] = KINDS) -> None:
        self.seed = seed
        self.world = World(seed)
        self.faults = Faults()
        chance = self.world.chance
        # A seed in which all goes wrong at once is a seed in which little gets done.
        self.kinds = [kind for kind in KINDS if kind in kinds and chance.random() < 0.5]
        skews = next((SKEWS[kind] for kind in reversed(self.kinds) if kind in SKEWS), (0.0,))
        self.system = System(self.world, self.faults, skews)
        self.clients = Clients(self.system, chance.choice((1, 2, 3)), TROUBLE)
        for kind in self.kinds:
            if kind in SHARES:
                SHARES[kind](self.faults, chance)
        self._at_rest = self._peace = False
        #: Events in the sums of metric attributions, in the end.
        self.summed = 0
        self._worked = 0.0
        self._blows = [BLOWS[kind] for kind in self.kinds if kind in BLOWS]

    def run(self) -> list[str]:
        """What did not hold; nothing when all did."""
        world = self.world
        with simulated(world, self.system.children), without_garbage_collection():
            try:
                self._strike()
                self._watch()
                world.run(TROUBLE)
                self.faults.end()
                self._blows = []
                self._peace = True
                world.tell("PEACE")
                self._come_to_rest()
                if not world.broken:
                    self._check()
            finally:
                world.end()
        return world.broken

    def _come_to_rest(self) -> None:
        while not (self._at_rest or self.world.broken):
            until = TROUBLE + min(PEACE + self._worked, LONGEST_PEACE)
            if self.world.now > EPOCH + until:
                return
            self.world.run(until)

    def _strike(self) -> None:
        if self._blows and self.system.running:
            self.world.chance.choice(self._blows)(self.system, self.world.chance)
        self.world.after(self.world.chance.expovariate(1 / EVERY), self._strike)

    def _watch(self) -> None:
        self.system.children.check()
        self._at_rest = not (self.clients.working or self._unrest())
        if self._peace:
            self._worked += self.system.children.is_work_going_on()
            if self._at_rest:
                self.world.end_run()
        self.world.after(1.0, self._watch)

    def _unrest(self) -> list[str]:
        twin, broker = self.system.server.twin, self.system.broker
        return [
            *(f"{arn} is {twin.everything()[arn].in_progress}" for arn in twin.list_in_progress()),
            *(f"the note {note.id} is in the outbox" for note in twin.outbox()),
            *(f"{len(queue)} messages wait on {name}" for name, queue in broker.queues.items() if queue),
            *(["messages are under way"] if broker.under_way else []),
            *(
                f"events wait to be summed for {arn}"
                for arn in twin.everything()
                if twin.read_waiting_data(arn, 1).events
            ),
        ]

    # What must hold in the end

    def _check(self) -> None:
        for unrest in self._unrest():
            self.world.breaks(f"{self.world.now - EPOCH - TROUBLE:.0f} s after the last fault {unrest}")
        self._check_promises()
        self._check_sums()
        self._check_records()
        self._check_lists()

    def _check_promises(self) -> None:
        ledger, twin = self.clients.ledger, self.system.server.twin
        for arn in {**ledger.made, **ledger.removed}:
            stands = ledger.stands(arn)
            if stands is not None and stands != (twin.get(arn) is not None):
                self.world.breaks(f"{arn} was {'made' if stands else 'deleted'}, which was acknowledged, and undone")
        kept = Counter(str(event.item_id) for dataset in twin._streams for event in twin.iter_interactions(dataset))
        for item, (dataset, asked) in ledger.events.items():
            if kept[item] > 1:
                self.world.breaks(f"the event {item} is kept {kept[item]} times")
            if asked.kept and not kept[item] and not ledger.removed[dataset]:
                self.world.breaks(f"the event {item} was acknowledged and is lost")

    def _check_sums(self) -> None:
        """An event counts once at most for each metric of an attribution; of one that is gone nothing is left."""
        twin, sent = self.system.server.twin, Counter(dataset for dataset, _ in self.clients.ledger.events.values())
        for arn in twin._attributions:
            if twin.get(arn) is None:
                self.world.breaks(f"{arn} is gone, and has sums")
                continue
            [group] = twin.everything()[arn].parents
            most = sent[f"{group.replace(':dataset-group/', ':dataset/')}/INTERACTIONS"]
            for key, sum_ in twin.list_totals(arn).items():
                self.summed += sum_.samples
                if sum_.samples > most:
                    self.world.breaks(f"{arn} counts {sum_.samples} events in {key}, and {most} were sent")

    def _check_records(self) -> None:
        records = self.system.server.twin.everything()
        for record in records.values():
            for parent in record.parents:
                # An import that trained a version, say, may go: a version is still listed under its dataset.
                if parent not in records and noun(parent) in STANDS_ON.get(record.kind, ()):
                    self.world.breaks(f"{record.arn} stands, and {parent}, on which it stands, does not")
            trained = record.kind in ("solution_version", "recommender_version") and record.status == "ACTIVE"
            if trained and record.arn not in self.system.disk.kept:
                self.world.breaks(f"{record.arn} is ACTIVE and has no artifact")

    def _check_lists(self) -> None:
        for kind, resource in RESOURCES.items():
            if resource.hidden:
                continue
            listed = self.system.serve("api", f"List{resource.name}s", {}, "list")
            assert isinstance(listed, Answered)
            [rows] = [value for value in listed.members.values() if isinstance(value, list)]
            arns = {arn for arn, one in self.system.server.twin.everything().items() if one.kind == kind}
            if {row[resource.arn_member] for row in rows} != arns:
                self.world.breaks(f"List{resource.name}s shows other resources than there are")
            for row in rows:
                described = self.system.serve(
                    "api", f"Describe{resource.name}", {resource.arn_member: row[resource.arn_member]}, "describe"
                )
                assert isinstance(described, Answered)
                shown = described.members[resource.camel]
                if shown.get("status") != row.get("status"):
                    self.world.breaks(f"{row[resource.arn_member]} is listed as {row} and described as {shown}")

    def told(self, last: int | None = None) -> str:
        """The trace, a line a step."""
        lines = [
            f"{at - EPOCH:9.4f} {process:16} {' '.join(map(_short, what))}" for at, process, *what in self.world.trace
        ]
        head = f"seed {self.seed}: faults {', '.join(self.kinds) or 'none'}"
        return "\n".join([head, *(lines[-last:] if last else lines), *self.world.broken])


#: What must stand for as long as something stands on it.
STANDS_ON: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset_group",),
    "dataset_import_job": ("dataset",),
    "dataset_export_job": ("dataset",),
    "solution": ("dataset_group",),
    "solution_version": ("solution",),
    "trial": ("solution_version", "solution"),
    "campaign": ("solution_version", "solution"),
    "event_tracker": ("dataset_group",),
    "filter": ("dataset_group",),
    "metric_attribution": ("dataset_group",),
    "recommender": ("dataset_group",),
    "recommender_version": ("recommender",),
    "data_deletion_job": ("dataset_group",),
    "batch_inference_job": ("solution_version", "solution"),
    "batch_segment_job": ("solution_version", "solution"),
}


def _short(what: object) -> str:
    text = what.decode() if isinstance(what, bytes) else str(what)
    return text.replace("arn:aws:personalize:us-east-1:000000000000:", "")[:200]
