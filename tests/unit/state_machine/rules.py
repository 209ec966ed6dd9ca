"""The rules of lifecycles, written down once more: what the code is compared with.

From AWS's API reference and what its service was seen to answer. Deliberately of another make than
``shared/state/lifecycle.py``, whose words and tables must not be imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

GONE = "gone"

#: What waits: (once it is taken up, when it ends well, when it ends badly). A deletion can't end badly.
WORK: Mapping[str, tuple[str, str, str | None]] = {
    "CREATE PENDING": ("CREATE IN_PROGRESS", "ACTIVE", "CREATE FAILED"),
    "UPDATE PENDING": ("UPDATE IN_PROGRESS", "ACTIVE", "CREATE FAILED"),
    "STOP PENDING": ("STOP IN_PROGRESS", "INACTIVE", "ACTIVE"),
    "START PENDING": ("START IN_PROGRESS", "ACTIVE", "INACTIVE"),
    "DELETE PENDING": ("DELETE IN_PROGRESS", GONE, None),
    "PENDING": ("IN_PROGRESS", "COMPLETED", "FAILED"),
}
PENDING_OF: Mapping[str, str] = {under_way: pending for pending, (under_way, _, _) in WORK.items()}
AT_REST = {"ACTIVE", "INACTIVE", "CREATE FAILED", "CREATE STOPPED", "COMPLETED", "FAILED"}
FAILED = {"CREATE FAILED", "FAILED"}

#: The status that Create gives; None: usable at once, without a status.
FIRST: Mapping[str, str | None] = {"schema": None, "solution": "ACTIVE", "data_deletion_job": "PENDING"}
#: What Update shows: beside the resource's status, in `latest...Update`, or in its place.
UPDATES: Mapping[str, str] = {
    "campaign": "CREATE PENDING",
    "recommender": "CREATE PENDING",
    "solution": "CREATE PENDING",
    "dataset": "UPDATE PENDING",
    "metric_attribution": "UPDATE PENDING",
}
#: Deletion is refused while one of these stands on it; import jobs and versions only while they move.
NEEDED_BY: Mapping[str, tuple[str, ...]] = {
    "schema": ("dataset",),
    "dataset_group": ("dataset", "solution", "event_tracker", "recommender", "filter", "metric_attribution"),
    "solution": ("campaign",),
}
BUSY_WITH: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset_import_job", "solution_version", "recommender_version"),
    "solution": ("solution_version", "batch_inference_job", "batch_segment_job"),
    "dataset_group": ("data_deletion_job",),
}
#: No API deletes these: they vanish with what they belong to.
VANISHES_WITH: Mapping[str, str] = {
    "solution_version": "solution",
    "dataset_import_job": "dataset",
    "dataset_export_job": "dataset",
    "data_deletion_job": "dataset_group",
    "batch_inference_job": "solution",
    "batch_segment_job": "solution",
    "recommender_version": "recommender",
    "trial": "solution",
}
#: What Create needs to be usable, by the kind of what it stands on.
NEEDS_ACTIVE: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset_group",),
    "dataset_import_job": ("dataset",),
    "dataset_export_job": ("dataset",),
    "solution": ("dataset_group",),
    "solution_version": ("solution",),
    "campaign": ("solution_version", "solution"),
    "event_tracker": ("dataset_group",),
    "recommender": ("dataset_group", "dataset"),
    "metric_attribution": ("dataset_group",),
    "data_deletion_job": ("dataset_group",),
    "batch_inference_job": ("solution_version", "solution"),
    "batch_segment_job": ("solution_version", "solution"),
}
#: AWS's own order of cleaning up: what is used goes after what uses it.
CLEARING = (
    "recommender",
    "campaign",
    "filter",
    "solution",
    "event_tracker",
    "metric_attribution",
    "dataset",
    "schema",
    "dataset_group",
)
#: Of which a dataset group has one.
ONE_PER_GROUP = {"event_tracker", "metric_attribution"}


def heard(status: str | None, fact: str) -> str | None:
    """The status after a fact of the current attempt; None when it changes nothing."""
    if status == "CREATE STOPPING":
        return "CREATE STOPPED" if fact in ("finished", "failed", "stopped") else None
    pending = PENDING_OF.get(status or "", status or "")
    if pending not in WORK:
        return None
    under_way, well, badly = WORK[pending]
    if pending == "DELETE PENDING":  # it is over when the record goes, not when somebody says so
        return under_way if fact == "started" else None
    return {"started": under_way, "progressed": under_way, "finished": well, "failed": badly}.get(fact)


@cache
def moves(kind: str) -> frozenset[tuple[str | None, str | None]]:
    """Every move that a resource of this kind may ever make. Nothing but GONE leads out of a deletion."""
    if FIRST.get(kind, "") is None:
        return frozenset({(None, GONE)})
    found: set[tuple[str | None, str | None]] = set(_work(FIRST.get(kind, "CREATE PENDING") or ""))
    if kind in ("solution_version", "trial"):
        found |= {
            ("CREATE PENDING", "CREATE STOPPED"),
            ("CREATE IN_PROGRESS", "CREATE STOPPING"),
            ("CREATE STOPPING", "CREATE STOPPED"),
        }
    if kind == "trial":  # one that somebody may have begun is stopped by whoever that is
        found |= {("CREATE PENDING", "CREATE STOPPING")}
    if kind == "recommender":
        found |= {("ACTIVE", "STOP PENDING"), ("INACTIVE", "START PENDING"), ("INACTIVE", "DELETE PENDING")}
        found |= {*_work("STOP PENDING"), *_work("START PENDING")}
    if kind in VANISHES_WITH:
        return frozenset(found | {(status, GONE) for move in found for status in move})
    if UPDATES.get(kind) == "CREATE PENDING" and found:
        found |= {("CREATE FAILED", "ACTIVE")}  # an update that worked
    for status in {"ACTIVE", *(after for _, after in found if after == "CREATE FAILED")}:
        found |= {(status, "DELETE PENDING")}
    return frozenset(found | {*_work("DELETE PENDING")})


def _work(pending: str) -> Iterator[tuple[str, str]]:
    if pending not in WORK:
        return
    under_way, well, badly = WORK[pending]
    yield pending, under_way
    for end in (well, badly):
        if end is not None:
            yield pending, end  # nobody has to have seen it under way
            yield under_way, end


@cache
def update_moves(kind: str) -> frozenset[tuple[str | None, str | None]]:
    """The same of the status of the latest update."""
    if kind not in UPDATES:
        return frozenset()
    pending = UPDATES[kind]
    return frozenset({*_work(pending), (None, pending), ("ACTIVE", pending), ("CREATE FAILED", pending)})


@dataclass
class Known:
    """A resource as a client knows it. ``life`` counts how often its ARN was made before."""

    arn: str
    kind: str
    name: str
    life: int
    status: str | None
    attempt: int
    uses: tuple[str, ...] = ()
    update: str | None = None
    wanted: tuple[str, ...] = ()
    """What it will stand on once its update has worked."""

    @property
    def moving(self) -> str | None:
        """The status in motion: of an update, or its own."""
        return next((s for s in (self.update, self.status) if s is not None and s not in AT_REST), None)

    @property
    def shown(self) -> str | None:
        return self.update if self.update in ("UPDATE PENDING", "UPDATE IN_PROGRESS") else self.status

    @property
    def given(self) -> tuple[str, ...]:
        """What it stands on, or is being made to stand on."""
        return self.wanted or self.uses

    def hear(self, fact: str) -> None:
        """A fact of the current attempt."""
        updating = self.update is not None and self.moving == self.update
        after = heard(self.moving, fact)
        if after is None:
            return
        if not updating:
            self.status = after
            return
        self.update = after
        if after == "ACTIVE":
            self.status, self.uses = "ACTIVE", self.wanted
        if after in AT_REST:
            self.wanted = ()


@dataclass
class Model:
    """All that stands, and what must be refused."""

    known: dict[str, Known] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str) -> list[Known]:
        return [one for one in self.known.values() if one.kind == kind]

    def under(self, arn: str, kinds: tuple[str, ...]) -> list[Known]:
        return [one for one in self.known.values() if one.kind in kinds and arn in (*one.uses, *one.wanted)]

    def born(self, arn: str, kind: str, name: str, uses: tuple[str, ...], attempt: int) -> Known:
        self.lives[arn] = self.lives.get(arn, 0) + 1
        first = FIRST.get(kind, "CREATE PENDING")
        self.known[arn] = Known(arn, kind, name, self.lives[arn], first, attempt, uses)
        return self.known[arn]

    def died(self, arn: str) -> None:
        """Gone, with all that belongs to it."""
        dead = self.known.pop(arn)
        for one in list(self.known.values()):
            if VANISHES_WITH.get(one.kind) == dead.kind and arn in one.uses:
                del self.known[one.arn]

    def refuses_create(self, kind: str, name: str, uses: tuple[str, ...]) -> set[str]:
        """The codes that Create may answer; none: it must work. ``uses`` names what it is to stand on.

        A model is not trained while an import into its datasets is under way.
        """
        codes = set()
        stands_on = [self.known.get(arn) for arn in uses]
        if None in stands_on:
            codes.add("ResourceNotFoundException")
        for parent in stands_on:
            if parent is None:
                continue
            if parent.kind in NEEDS_ACTIVE.get(kind, ()) and parent.shown != "ACTIVE":
                codes.add("ResourceInUseException")
            trains = kind in ("solution_version", "recommender")
            if trains and parent.kind == "dataset" and self._importing(parent):
                codes.add("ResourceInUseException")
            if kind in ONE_PER_GROUP and parent.kind == "dataset_group" and self.under(parent.arn, (kind,)):
                codes.add("ResourceAlreadyExistsException")
        if any(one.name == name for one in self.of(kind)):
            codes.add("ResourceAlreadyExistsException")
        return codes

    def _importing(self, dataset: Known) -> bool:
        return any(job.moving for job in self.under(dataset.arn, ("dataset_import_job",)))

    def refuses_delete(self, arn: str) -> set[str]:
        one = self.known.get(arn)
        if one is None:
            return {"ResourceNotFoundException"}
        busy = (child for child in self.under(arn, BUSY_WITH.get(one.kind, ())) if child.moving)
        if one.moving or self.under(arn, NEEDED_BY.get(one.kind, ())) or any(busy):
            return {"ResourceInUseException"}
        return set()

    def refuses_update(self, arn: str, wanted: tuple[str, ...]) -> set[str]:
        one = self.known.get(arn)
        if one is None:
            return {"ResourceNotFoundException"}
        codes = self.refuses_create(one.kind, "", wanted) - {"ResourceAlreadyExistsException"}
        if one.moving:
            return codes | {"ResourceInUseException"}
        if one.status not in ("ACTIVE", "CREATE FAILED"):
            return codes | {"InvalidInputException"}
        return codes

    def refuses_stop(self, arn: str, *, of: str) -> set[str]:
        """StopSolutionVersionCreation and StopRecommender."""
        one = self.known.get(arn)
        if one is None or one.kind != of:
            return {"ResourceNotFoundException"}
        if of == "solution_version":
            if one.status in ("CREATE PENDING", "CREATE IN_PROGRESS"):
                return set()
            return {"ResourceInUseException" if one.status == "CREATE STOPPING" else "InvalidInputException"}
        return self._refuses_switch(one, "ACTIVE")

    def refuses_start(self, arn: str) -> set[str]:
        one = self.known.get(arn)
        return {"ResourceNotFoundException"} if one is None else self._refuses_switch(one, "INACTIVE")

    def _refuses_switch(self, one: Known, needed: str) -> set[str]:
        if one.moving:
            return {"ResourceInUseException"}
        return set() if one.status == needed else {"InvalidInputException"}
