"""The next step of a recommender with work in progress: train its model, or complete it. Each is safe to repeat."""

from __future__ import annotations

import contextlib

from services.status import transitions
from shared.aws.errors import PersonalizeError
from shared.jobs import celery_app
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.resources.resource_type import create_record, is_terminal
from shared.state.lifecycle import ACTIVE, CLAIMABLE, STOP_IN_PROGRESS, STOP_PENDING, TERMINAL
from shared.state.messages import Fact, Failed, Finished, Progressed, Started, TrainSolutionVersion
from shared.store import Conflict, NameTaken, Record

VERSION = RESOURCES["recommender_version"]


def advance_after_fact(process: WorkerProcess, fact: Fact) -> None:
    """Take the next step of a recommender; to be called after a fact about it or its model has been written."""
    record = None if isinstance(fact, Progressed) else process.store.get(fact.arn)
    if record is None:
        return
    if record.kind == "recommender_version" and is_terminal(record):
        advance_recommender(process, record.parents[0])
    elif record.kind == "recommender" and is_terminal(record):
        _remove_superseded(process, record)


def advance_recommender(process: WorkerProcess, arn: str) -> None:
    """Complete a stop, start the training of a missing model, or report a failure."""
    recommender = process.store.get(arn)
    if recommender is None or recommender.kind != "recommender" or recommender.in_progress not in CLAIMABLE:
        return
    if recommender.in_progress in (STOP_PENDING, STOP_IN_PROGRESS):
        # The runtimes refuse its requests from STOP PENDING on, and unload the model by themselves.
        transitions.write_transition(process.store, Started(arn=arn, attempt=recommender.attempt))
        transitions.write_transition(process.store, Finished(arn=arn, attempt=recommender.attempt))
        return
    version = process.store.get(_get_requested_version(recommender))
    if version is None:
        _start_training(process, recommender)
    elif version.status not in (ACTIVE, None) and version.status in TERMINAL:
        _report_failure(process, recommender, version.reason or f"Its model is in status {version.status}.")
    elif (
        version.status == ACTIVE
        and _compute_waited_seconds(process, recommender, version) > process.settings.deploy_deadline_seconds
    ):
        _report_failure(process, recommender, "No runtime service took the recommender up. Start one, then update it.")


def _get_requested_version(recommender: Record) -> str:
    update = recommender.update
    body = update.body if update is not None and recommender.in_progress == update.status else recommender.body
    return str(body["solutionVersionArn"])


def _start_training(process: WorkerProcess, recommender: Record) -> None:
    reading = ResourceReader(process.store, process.settings)
    try:
        draft = VERSION.draft({"recommenderArn": recommender.arn}, reading)
    except PersonalizeError as error:
        _report_failure(process, recommender, error.message)
        return
    command = TrainSolutionVersion(arn=draft.arn)
    version = create_record(VERSION, draft, process.store.now())
    try:
        process.store.create(
            version, invocation=draft.arn, guards=draft.guards, outbox=[celery_app.build_outbox_entry(command)]
        )
    except (Conflict, NameTaken):
        return  # another process has created it, or the next round does
    celery_app.send_command(process.store, process.queue, command)
    transitions.write_transition(process.store, Started(arn=recommender.arn, attempt=recommender.attempt))


def _compute_waited_seconds(process: WorkerProcess, recommender: Record, version: Record) -> float:
    """Return the seconds since a runtime could have loaded the model."""
    asked = recommender.update.created if recommender.update is not None else recommender.updated
    return process.store.now() - max(asked, recommender.updated, version.updated)


def _report_failure(process: WorkerProcess, recommender: Record, reason: str) -> None:
    failed = Failed(arn=recommender.arn, attempt=recommender.attempt, reason=reason)
    transitions.write_transition(process.store, failed)
    advance_after_fact(process, failed)


def _remove_superseded(process: WorkerProcess, recommender: Record) -> None:
    """Remove the models that an update has replaced; a model whose record changes just now is removed the next time."""
    after: str | None = None
    while True:
        versions, after = process.store.list_page(VERSION.noun, recommender.arn, after=after, whole=True)
        for version in versions:
            if version.arn != recommender.body["solutionVersionArn"]:
                process.artifacts.discard_artifact(version.arn)
                with contextlib.suppress(Conflict):
                    process.store.remove(version)
        if after is None:
            return
