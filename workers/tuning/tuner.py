"""The next step of HPO or AutoML, from what stands in the records. Safe to take again, by anybody, at any time."""

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
    """Take steps until there is none to take before something happens."""
    while _take_step(process, arn):
        continue


def _take_step(process: WorkerProcess, arn: str) -> bool:
    """One change at most, and whether there may be another."""
    version = process.store.get(arn)
    if version is None or version.kind != "solution_version" or not _is_tuning(version):
        return False
    search = TrialSearch(version, trials.of(version, ResourceReader(process.store, process.settings)), process.settings)
    under_way = [trial for trial in search.trials if not is_terminal(trial)]
    try:
        # One that was stopped before its Started had been heard is CREATE STOPPED at once, and may have trials.
        if version.status in (CREATE_STOPPING, CREATE_STOPPED):
            return _stop_tuning(process, version, under_way)
        return not is_terminal(version) and _continue_search(process, search, under_way)
    except (Conflict, NameTaken):
        return True  # Something moved in between: look again.
    except LookupError as error:
        _report_fact(process, Failed(arn=arn, attempt=version.attempt, reason=str(error)))
        return False


def _is_tuning(version: Record) -> bool:
    """Is it ours to see to? Not before, and no longer once there is a winner."""
    return RESOURCES[version.kind].get_command(version) is TuneSolutionVersion


def _continue_search(process: WorkerProcess, search: TrialSearch, under_way: Sequence[Record]) -> bool:
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
            return False  # they may do what the defaults can't; more are not begun on that hope
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
    """Training workers that live. A trial that nobody could take yet would be one proposed too early."""
    return max(sum(name.startswith("training@") for name in process.store.list_live_processes()), 1)


def _create_trial(process: WorkerProcess, search: TrialSearch, space: SearchSpace, parameters: Parameters) -> bool:
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
    # Whoever begins one raises the version's own number: two that have counted the same trials can't both.
    process.store.create(
        record, invocation=record.arn, guards=(version,), outbox=[celery_app.build_outbox_entry(command)]
    )
    log.info("trial begun", arn=record.arn, parameters=parameters)
    celery_app.send_command(process.store, process.queue, command)
    return True


def _stop_trial(process: WorkerProcess, trial: Record, *, pruned: bool) -> None:
    """Whoever works on it sees that by the lease; who does not will never begin."""
    status = TRAINED.get_next_status(trial.status or "", TransitionRequest.STOP)
    if status == CREATE_STOPPED and process.store.get_lease(trial.arn) is not None:
        # Somebody has just begun: what they work in is not removed before they have ended.
        status = CREATE_STOPPING
    if status is None:
        return
    state = {**trial.state, "pruned": True} if pruned else trial.state
    process.store.replace(replace(trial, status=status, state=state, updated=process.store.now()))
    log.info("trial ended early", arn=trial.arn, pruned=pruned)


def _stop_tuning(process: WorkerProcess, version: Record, under_way: Sequence[Record]) -> bool:
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
    """Remove the checkpoints of trials that will not be gone on with: those of a large catalogue are large."""
    of_version = process.artifacts.create_workspace(search.version.arn)
    best = {one.arn for space in search.spaces if (one := search.find_best(space)) is not None}
    for trial in search.trials:
        if is_terminal(trial) and trial.arn not in best:
            shutil.rmtree(trials.workspace(of_version, trial.body["number"]), ignore_errors=True)


def _announce_winner(process: WorkerProcess, search: TrialSearch) -> bool:
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
    log.info("tuned", arn=version.arn, trial=winner.arn, parameters=winner.body["parameters"])
    celery_app.send_command(process.store, process.queue, command)
    return False


def _report_fact(process: WorkerProcess, fact: Started | Failed | Stopped) -> None:
    celery_app.report_fact(process.store, process.queue, fact)
