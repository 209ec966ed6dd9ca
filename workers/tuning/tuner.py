"""Takes the next steps of HPO or AutoML, as the records imply. Any worker may repeat a step at any time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace

import structlog

from shared.jobs import celery_app
from shared.jobs.worker_process import WorkerProcess
from shared.resources import RESOURCES, ResourceReader
from shared.resources.resource_type import create_record, is_terminal
from shared.resources.trial import requests as trials
from shared.state.lifecycle import CREATE_PENDING, CREATE_STOPPED, CREATE_STOPPING, TRAINED, TransitionRequest
from shared.state.messages import Failed, RunTrial, Started, Stopped, TrainSolutionVersion, TuneSolutionVersion
from shared.store import Conflict, NameTaken, Record
from workers.tuning.search import TrialSearch
from workers.tuning.study import Parameters, SearchSpace

log = structlog.get_logger()

TRIAL = RESOURCES["trial"]


def advance_tuning(process: WorkerProcess, arn: str) -> None:
    """Take steps until none is left before a trial reports."""
    while _take_step(process, arn):
        continue


def _take_step(process: WorkerProcess, arn: str) -> bool:
    """Make at most one change; return whether there may be another."""
    version = process.store.get(arn)
    if version is None or version.kind != "solution_version" or not _is_tuning(version):
        return False
    search = TrialSearch(
        version, trials.list_trials(version, ResourceReader(process.store, process.settings)), process.settings
    )
    under_way = [trial for trial in search.trials if not is_terminal(trial)]
    try:
        # A version stopped before its Started arrived is CREATE STOPPED at once, and may have trials.
        if version.status in (CREATE_STOPPING, CREATE_STOPPED):
            return _stop_tuning(process, version, under_way)
        return not is_terminal(version) and _continue_search(process, search, under_way)
    except (Conflict, NameTaken):
        return True  # A record changed in between: read again.
    except LookupError as error:
        _report_fact(process, Failed(arn=arn, attempt=version.attempt, reason=str(error)))
        return False


def _is_tuning(version: Record) -> bool:
    """Return whether this version waits for tuning: not before its turn, and not once there is a winner."""
    return RESOURCES[version.kind].get_command(version) is TuneSolutionVersion


def _continue_search(process: WorkerProcess, search: TrialSearch, under_way: Sequence[Record]) -> bool:
    """Take the next step of a tuning that was not stopped; return whether there may be another."""
    version = search.version
    if version.status == CREATE_PENDING and not search.trials:
        _report_fact(process, Started(arn=version.arn, attempt=version.attempt))
    for trial in search.find_unpromising():
        if trial.status != CREATE_STOPPING:
            _stop_trial(process, trial, pruned=True)
            return True
    _remove_checkpoints(process, search)
    if (reason := search.find_failure()) is not None:
        if under_way:
            return False  # these may still succeed where the defaults failed, but no more are started
        process.artifacts.discard_workspace(version.arn)
        _report_fact(process, Failed(arn=version.arn, attempt=version.attempt, reason=reason))
        return False
    if (
        len(under_way) < min(search.at_once, _count_workers(process))
        and (proposed := search.propose_trial()) is not None
    ):
        return _create_trial(process, search, *proposed)
    if under_way:
        return False
    return _announce_winner(process, search)


def _count_workers(process: WorkerProcess) -> int:
    """Count the live training workers. A trial that no worker can take yet would be proposed too early."""
    return max(sum(name.startswith("training@") for name in process.store.list_live_processes()), 1)


def _create_trial(process: WorkerProcess, search: TrialSearch, space: SearchSpace, parameters: Parameters) -> bool:
    """Write the record of a trial and send its command; return True."""
    version = search.version
    request = {
        "solutionVersionArn": version.arn,
        "recipeArn": space.recipe.arn,
        "number": len(search.trials),
        "parameters": dict(parameters),
    }
    record = create_record(
        TRIAL, TRIAL.draft(request, ResourceReader(process.store, process.settings)), process.store.now()
    )
    command = RunTrial(arn=record.arn)
    # The guard raises the version's revision, so that of two workers with the same count of trials one succeeds.
    process.store.create(
        record, invocation=record.arn, guards=(version,), outbox=[celery_app.build_outbox_entry(command)]
    )
    log.info("trial created", arn=record.arn, parameters=parameters)
    celery_app.send_command(process.store, process.queue, command)
    return True


def _stop_trial(process: WorkerProcess, trial: Record, *, pruned: bool) -> None:
    """Stop a trial: its worker notices by the lease, and a trial without a worker never starts."""
    status = TRAINED.get_next_status(trial.status or "", TransitionRequest.STOP)
    if status == CREATE_STOPPED and process.store.get_lease(trial.arn) is not None:
        # A worker has just started: its workspace must remain until it has ended.
        status = CREATE_STOPPING
    if status is None:
        return
    state = {**trial.state, "pruned": True} if pruned else trial.state
    process.store.replace(replace(trial, status=status, state=state, updated=process.store.now()))
    log.info("trial ended early", arn=trial.arn, pruned=pruned)


def _stop_tuning(process: WorkerProcess, version: Record, under_way: Sequence[Record]) -> bool:
    """Stop the trials one by one, then the version; return whether there may be another step."""
    for trial in under_way:
        if trial.status != CREATE_STOPPING:
            _stop_trial(process, trial, pruned=False)
            return True
    if under_way:
        return False
    process.artifacts.discard_workspace(version.arn)
    if not is_terminal(version):
        _report_fact(process, Stopped(arn=version.arn, attempt=version.attempt))
    return False


def _remove_checkpoints(process: WorkerProcess, search: TrialSearch) -> None:
    """Remove the checkpoints of ended trials except the best: those of a large catalogue are large."""
    of_version = process.artifacts.create_workspace(search.version.arn)
    best = {one.arn for space in search.spaces if (one := search.find_best(space)) is not None}
    for trial in search.trials:
        if is_terminal(trial) and trial.arn not in best:
            shutil.rmtree(trials.get_workspace(of_version, trial.body["number"]), ignore_errors=True)


def _announce_winner(process: WorkerProcess, search: TrialSearch) -> bool:
    """Record the winning trial and send the command to train with it, or fail the version; return False."""
    version, winner = search.version, search.find_winner()
    if winner is None:
        reasons = [trial.reason for trial in search.trials if trial.reason] or ["No trial was finished."]
        process.artifacts.discard_workspace(version.arn)
        _report_fact(process, Failed(arn=version.arn, attempt=version.attempt, reason=reasons[0]))
        return False
    space = next(space for space in search.spaces if space.recipe.arn == winner.body["recipeArn"])
    won = {
        "recipeArn": winner.body["recipeArn"],
        "parameters": winner.body["parameters"],
        "searched": sorted(space.distributions),
        "trial": winner.body["number"],
        "seconds": search.seconds,
    }
    command = TrainSolutionVersion(arn=version.arn)
    process.store.replace(
        replace(version, state={**version.state, "tuned": won}),
        outbox=[celery_app.build_outbox_entry(command)],
    )
    log.info("tuning finished", arn=version.arn, trial=winner.arn, parameters=winner.body["parameters"])
    celery_app.send_command(process.store, process.queue, command)
    return False


def _report_fact(process: WorkerProcess, fact: Started | Failed | Stopped) -> None:
    celery_app.report_fact(process.store, process.queue, fact)
