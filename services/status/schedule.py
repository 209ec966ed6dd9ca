"""Trains solutions by their schedule (performAutoTraining), where the setting ``auto_training`` allows it.

AWS's rules: the first training starts within the hour after the solution has become ACTIVE, or got another schedule,
unless a client trained it by hand in that hour; the next ones follow at the schedule's rate, counted from the start of
the last training; a training without new interactions, or new items where the recipe learns from their texts, is
skipped. Each has training mode FULL.

The next training of a solution is saved in its record: ``state["schedule"]``.

ACTIVE recommenders are retrained every 7 days in the same way; that is an ordinary update of theirs.
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
from shared.resources.dataset.requests import build_dataset_arn
from shared.resources.dataset_import_job import iter_current_jobs
from shared.resources.recommender.requests import create_version_arn
from shared.resources.resource_type import create_record, is_terminal, with_update
from shared.resources.solution import schedule
from shared.resources.solution_version.requests import AUTOMATIC, build_draft, find_newest_full, list_imports
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
    """The time of a solution's next training. Times are epoch seconds; ``days`` is the schedule's rate."""

    days: int
    due: float
    since: float | None = None
    """A training by hand after this time replaces the first training; None for the later trainings."""

    def plan_following(self, begun: float) -> NextTraining:
        """Return the training that follows one that began at ``begun``."""
        return NextTraining(days=self.days, due=begun + self.days * DAY)


def start_scheduler() -> None:
    quarantine = Quarantine("scheduling", longest_pause=EVERY)
    periodic.run_periodically("scheduling", EVERY, lambda process: run_schedules(process, quarantine))


def run_schedules(process: WorkerProcess, quarantine: Quarantine) -> None:
    """Check all schedules, where the setting allows it."""
    if process.settings.auto_training:
        check_schedules(process, process.store.now(), quarantine)


def check_schedules(process: WorkerProcess, now: float, quarantine: Quarantine) -> None:
    """Check every solution and recommender once. ``now`` and all times in records are by the store's clock."""
    reading = ResourceReader(process.store, process.settings)
    for solution in reading.iter_children("solution", whole=False):
        if solution.status == ACTIVE:
            quarantine.run_unless_quarantined(
                solution.arn, partial(_train_solution_if_due, process, reading, solution, now)
            )
    for recommender in reading.iter_children("recommender", whole=False):
        if recommender.status == ACTIVE and is_terminal(recommender):
            quarantine.run_unless_quarantined(
                recommender.arn, partial(_retrain_recommender_if_due, process, reading, recommender, now)
            )


def _train_solution_if_due(process: WorkerProcess, reading: ResourceReader, solution: Record, now: float) -> None:
    try:
        _save_next_training(process, solution, _compute_next_training(process, reading, solution, now))
    except Conflict:
        return  # A record has changed since it was read: the next check tries again.
    except PersonalizeError as refusal:
        log.info("automatic training waits", arn=solution.arn, reason=refusal.message)


def _retrain_recommender_if_due(
    process: WorkerProcess, reading: ResourceReader, recommender: Record, now: float
) -> None:
    """Retrain a recommender when its model is a week old and new data has come. It serves the old model until then."""
    model = process.store.get(recommender.body["solutionVersionArn"])
    if model is None or now < max(model.created, _get_last_failure_time(recommender)) + RECOMMENDER_DAYS * DAY:
        return
    if not _has_new_interactions(process, reading, recommender, model):
        return
    resource = RESOURCES["recommender"]
    body = {
        "recommenderConfig": recommender.body["recommenderConfig"],
        "solutionVersionArn": create_version_arn(recommender.arn),
    }
    command = AdvanceRecommender(arn=recommender.arn)
    try:
        process.store.replace(
            with_update(resource, recommender, body, process.store.now()),
            outbox=[celery_app.build_outbox_entry(command)],
        )
    except Conflict:
        return  # A client has changed the recommender: the next check tries again.
    log.info("automatic training", arn=recommender.arn)
    celery_app.send_command(process.store, process.queue, command)


def _get_last_failure_time(recommender: Record) -> float:
    """Return when an update was requested that never replaced the model; 0.0 where there is none."""
    update = recommender.update
    if update is None or update.body["solutionVersionArn"] == recommender.body["solutionVersionArn"]:
        return 0.0
    return update.created


def _compute_next_training(
    process: WorkerProcess, reading: ResourceReader, solution: Record, now: float
) -> NextTraining | None:
    """Return the solution's next training after this check, which may have started one."""
    if not solution.body.get("performAutoTraining"):
        return None
    plan = _read_next_training(solution)
    days = schedule.parse_days(solution.body.get("solutionConfig") or {})
    if plan is None or plan.days != days:
        # The solution, or its schedule, is newer than the check before the last one.
        since = now - 2 * EVERY
        return NextTraining(days=days, due=since + HOUR, since=since)
    versions = list(reading.iter_children("solution_version", solution.arn))
    if plan.since is not None and versions and versions[0].created >= plan.since:
        return plan.plan_following(versions[0].created)
    if now < plan.due or not all(map(is_terminal, versions)):
        return plan
    last = find_newest_full(solution.arn, reading)
    if _has_new_data(process, reading, solution, last):
        _start_training(process, reading, solution, plan.due)
        return plan.plan_following(now)
    # Without any data so far, the training stays due until the first data comes.
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
    # The start of a training has raised the solution's version since it was read; only this task writes its schedule.
    standing = process.store.get(solution.arn)
    if standing is not None:
        # Members that another release has written are kept.
        kept = {**(standing.state.get("schedule") or {}), **asdict(plan)} if plan else None
        state = {**standing.state, "schedule": kept}
        process.store.replace(replace(standing, state=state))


def _has_new_data(process: WorkerProcess, reading: ResourceReader, solution: Record, last: Record | None) -> bool:
    """Whether interactions have come since the last training, or items, for a recipe that learns from their texts."""
    if _has_new_interactions(process, reading, solution, last):
        return True
    recipe = recipes.find_recipe(solution.body.get("recipeArn") or "")
    if recipe is None or not recipe.training.uses_texts:
        return False
    items = build_dataset_arn(solution.body["datasetGroupArn"], recipe.catalogue, reading)
    imported = {job.arn for job in iter_current_jobs(items, reading)}
    trained = list_imports(last, recipe.catalogue) if last else ()
    put_at = process.store.get_last_put(items)
    return bool(imported.difference(trained)) or put_at > (last.created if last else 0.0)


def _has_new_interactions(
    process: WorkerProcess, reading: ResourceReader, solution: Record, last: Record | None
) -> bool:
    """Whether interactions have come, in bulk or live, since the last training."""
    recipe = recipes.find_recipe(solution.body.get("recipeArn") or "")
    interactions = recipe.interactions if recipe else "INTERACTIONS"
    dataset = build_dataset_arn(solution.body["datasetGroupArn"], interactions, reading)
    trained = list_imports(last, interactions) if last else ()
    imported = {job.arn for job in iter_current_jobs(dataset, reading)}
    return bool(imported.difference(trained)) or process.store.get_last_arrival(dataset) > (
        last.created if last else 0.0
    )


def _start_training(process: WorkerProcess, reading: ResourceReader, solution: Record, due: float) -> None:
    """Create a version, once per due time. Raises the errors that refuse CreateSolutionVersion."""
    resource = RESOURCES["solution_version"]
    once = f"automatic-training:{solution.arn}:{due!r}"
    drafted = build_draft({"solutionArn": solution.arn}, reading, training_type=AUTOMATIC)
    record = create_record(resource, replace(drafted, claims=(*drafted.claims, once)), process.store.now())
    command = resource.get_command(record)
    notes = [celery_app.build_outbox_entry(command(arn=record.arn))] if command else []
    try:
        made = process.store.create(record, invocation=once, guards=drafted.guards, outbox=notes)
    except NameTaken as taken:
        made = taken.arn
    if made != record.arn:
        return  # Started already, by a process that died before it could save the next training.
    log.info("automatic training", arn=solution.arn, version=record.arn)
    if command:
        celery_app.send_command(process.store, process.queue, command(arn=record.arn))
