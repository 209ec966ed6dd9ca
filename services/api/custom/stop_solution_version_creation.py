"""StopSolutionVersionCreation: stop a waiting version at once, and a running one through its worker."""

from __future__ import annotations

from dataclasses import replace

from services.api.context import ApiContext, run_once
from shared.aws.errors import InvalidInput, ResourceInUse
from shared.http.app import Call
from shared.jobs import celery_app
from shared.resources import RESOURCES
from shared.state.lifecycle import CREATE_STOPPING, TRAINED, TransitionRequest


def stop_solution_version_creation(context: ApiContext, call: Call) -> None:
    run_once(context, call, lambda bound: _stop_version(bound, call.request["solutionVersionArn"]))


def _stop_version(context: ApiContext, arn: str) -> None:
    version = context.reading.find_record(arn, "solution_version")
    status = version.status or ""
    if status == CREATE_STOPPING:
        raise ResourceInUse(f"{arn} is being stopped already.")
    after = TRAINED.get_next_status(status, TransitionRequest.STOP)
    if after is None:
        raise InvalidInput(f"{arn} is in status {status}: only a version that is being created can be stopped.")
    declared = RESOURCES["solution_version"].get_command(version)
    # A worker with a lease learns of it from the lease. A tuning version, which only starts trials, gets a message.
    command = declared(arn=arn) if declared and declared.ends_stopped_work else None
    stopped = replace(version, status=after, updated=context.store.now())
    context.store.replace(
        stopped, invocation=context.invocation, outbox=[celery_app.build_outbox_entry(command)] if command else []
    )
    if command:
        context.dispatch(command)
