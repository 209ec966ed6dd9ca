"""Trains solutions by their own schedule (performAutoTraining), where the setting ``auto_training`` allows it.

AWS's rules: the first training begins within the hour after the solution has become ACTIVE, or was given another
schedule, unless somebody trained it by hand meanwhile; the next ones follow at the schedule's rate, counted from where
a training began; one is passed over when no interactions have come since the last. Each is a FULL one.

What the schedule of a solution has come to stands in its record: ``state["schedule"]``.

Recommenders that are ACTIVE are trained anew every 7 days, likewise; that is an update of theirs like any other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import partial

import structlog

from services.status import periodic
from shared import recipes
from shared.aws.errors import PersonalizeError
from shared.jobs import celery_app
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.resources.dataset.requests import arn_of
from shared.resources.dataset_import_job import current
from shared.resources.recommender.requests import fresh_version
from shared.resources.resource_type import create_record, is_terminal, with_update
from shared.resources.solution import schedule
from shared.resources.solution_version.requests import AUTOMATIC, draft, imports, newest_full
from shared.state.lifecycle import ACTIVE
from shared.state.messages import AdvanceRecommender
from shared.store import Conflict, NameTaken, Record
from shared.store.quarantine import Quarantine

log = structlog.get_logger()

EVERY = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
RECOMMENDER_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class NextTraining:
    """When a solution is to be trained next. Times are epoch seconds."""

    days: int
    due: float
    since: float | None = None
    """Of the first training: who trains by hand after this has spared it. None of the later ones."""

    def plan_following(self, begun: float) -> NextTraining:
        """The plan after a training that began then."""
        return NextTraining(days=self.days, due=begun + self.days * DAY)


def start_scheduler() -> None:
    aside = Quarantine("scheduling", longest_pause=EVERY)
    periodic.run_periodically("scheduling", EVERY, lambda process: run_schedules(process, aside))


def run_schedules(process: WorkerProcess, aside: Quarantine) -> None:
    if process.settings.auto_training:
        check_schedules(process, process.store.now(), aside)


def check_schedules(process: WorkerProcess, now: float, aside: Quarantine) -> None:
    """One look at every solution and recommender. ``now`` is by the store's clock, as all that it is compared with."""
    reading = ResourceReader(process.store, process.settings)
    for solution in reading.iter_children("solution", whole=False):
        if solution.status == ACTIVE:
            aside.run_unless_quarantined(solution.arn, partial(_check_solution, process, reading, solution, now))
    for recommender in reading.iter_children("recommender", whole=False):
        if recommender.status == ACTIVE and is_terminal(recommender):
            aside.run_unless_quarantined(
                recommender.arn, partial(_retrain_recommender, process, reading, recommender, now)
            )


def _check_solution(process: WorkerProcess, reading: ResourceReader, solution: Record, now: float) -> None:
    try:
        _save_next_training(process, solution, _compute_next_training(process, reading, solution, now))
    except Conflict:
        return  # Something moved in between: the next tick looks again.
    except PersonalizeError as refusal:
        log.info("automatic training waits", arn=solution.arn, reason=refusal.message)


def _retrain_recommender(process: WorkerProcess, reading: ResourceReader, recommender: Record, now: float) -> None:
    """Train a recommender anew when its model is of last week and there is news. It goes on with the old one."""
    model = process.store.get(recommender.body["solutionVersionArn"])
    if model is None or now < max(model.created, _get_last_failure_time(recommender)) + RECOMMENDER_DAYS * DAY:
        return
    if not _has_new_interactions(process, reading, recommender, model):
        return
    resource = RESOURCES["recommender"]
    body = {
        "recommenderConfig": recommender.body["recommenderConfig"],
        "solutionVersionArn": fresh_version(recommender.arn),
    }
    command = AdvanceRecommender(arn=recommender.arn)
    try:
        process.store.replace(
            with_update(resource, recommender, body, process.store.now()),
            outbox=[celery_app.build_outbox_entry(command)],
        )
    except Conflict:
        return  # Somebody asks something of it: the next tick looks again.
    log.info("automatic training", arn=recommender.arn)
    celery_app.send_command(process.store, process.queue, command)


def _get_last_failure_time(recommender: Record) -> float:
    """When a model was asked for that never took the place of the old one; 0.0: never."""
    update = recommender.update
    if update is None or update.body["solutionVersionArn"] == recommender.body["solutionVersionArn"]:
        return 0.0
    return update.created


def _compute_next_training(
    process: WorkerProcess, reading: ResourceReader, solution: Record, now: float
) -> NextTraining | None:
    """The solution's plan after this tick, which may have begun a training."""
    if not solution.body.get("performAutoTraining"):
        return None
    plan = _read_next_training(solution)
    days = schedule.days(solution.body.get("solutionConfig") or {})
    if plan is None or plan.days != days:
        # The solution, or its schedule, is as new as the last tick or the one before it.
        since = now - 2 * EVERY
        return NextTraining(days=days, due=since + HOUR, since=since)
    versions = list(reading.iter_children("solution_version", solution.arn))
    if plan.since is not None and versions and versions[0].created >= plan.since:
        return plan.plan_following(versions[0].created)
    if now < plan.due or not all(map(is_terminal, versions)):
        return plan
    last = newest_full(solution.arn, reading)
    if _has_new_interactions(process, reading, solution, last):
        _start_training(process, reading, solution, plan.due)
        return plan.plan_following(now)
    # Nothing was ever there to train on: the first data is waited for.
    return plan if last is None else plan.plan_following(now)


def _read_next_training(solution: Record) -> NextTraining | None:
    kept = solution.state.get("schedule")
    return (
        NextTraining(**{member.name: kept[member.name] for member in fields(NextTraining) if member.name in kept})
        if kept
        else None
    )


def _save_next_training(process: WorkerProcess, solution: Record, plan: NextTraining | None) -> None:
    if plan == _read_next_training(solution):
        return
    # A training that was begun has touched the solution since it was read; nobody else writes its schedule.
    standing = process.store.get(solution.arn)
    if standing is not None:
        # What another release has written beside it stays.
        kept = {**(standing.state.get("schedule") or {}), **asdict(plan)} if plan else None
        state = {**standing.state, "schedule": kept}
        process.store.replace(replace(standing, state=state))


def _has_new_interactions(
    process: WorkerProcess, reading: ResourceReader, solution: Record, last: Record | None
) -> bool:
    """Have interactions come, in bulk or live, since the last training?"""
    recipe = recipes.find_recipe(solution.body.get("recipeArn") or "")
    interactions = recipe.interactions if recipe else "INTERACTIONS"
    dataset = arn_of(solution.body["datasetGroupArn"], interactions, reading)
    trained = imports(last, interactions) if last else ()
    imported = {job.arn for job in current(dataset, reading)}
    return bool(imported.difference(trained)) or process.store.get_last_arrival(dataset) > (
        last.created if last else 0.0
    )


def _start_training(process: WorkerProcess, reading: ResourceReader, solution: Record, due: float) -> None:
    """Create a version, once per due time. Raises what CreateSolutionVersion would be refused with."""
    resource = RESOURCES["solution_version"]
    once = f"automatic-training:{solution.arn}:{due!r}"
    drafted = draft({"solutionArn": solution.arn}, reading, training_type=AUTOMATIC)
    record = create_record(resource, replace(drafted, claims=(*drafted.claims, once)), process.store.now())
    command = resource.get_command(record)
    notes = [celery_app.build_outbox_entry(command(arn=record.arn))] if command else []
    try:
        made = process.store.create(record, invocation=once, guards=drafted.guards, outbox=notes)
    except NameTaken as taken:
        made = taken.arn
    if made != record.arn:
        return  # Begun already, by a process that died before it could keep the plan.
    log.info("automatic training", arn=solution.arn, version=record.arn)
    if command:
        celery_app.send_command(process.store, process.queue, command(arn=record.arn))
