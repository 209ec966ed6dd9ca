"""ListTrials, of foretaste's own service: every trial of a solution version, as far as it is.

A version has 40 at most, so there are no pages; one that nothing tunes has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.operations import Desk
from shared.aws.web import Call
from shared.lifecycle import BROKEN
from shared.store import Record


def list_trials(desk: Desk, call: Call) -> Mapping[str, Any]:
    version = desk.reading.find(call.request["solutionVersionArn"], "solution_version")
    trials = sorted(desk.reading.children("trial", version.arn), key=lambda trial: int(trial.body["number"]))
    return {"trials": [_shown(trial) for trial in trials]}


def _shown(trial: Record) -> Mapping[str, Any]:
    state, progress = trial.state, trial.state.get("progress") or {}
    curve = [{"epoch": epoch, "gain": gain, "seconds": seconds} for epoch, gain, seconds in progress.get("curve") or ()]
    return {
        **trial.body,
        "trialArn": trial.arn,
        "status": trial.status,
        "pruned": bool(state.get("pruned")),
        "worker": state.get("worker"),
        # What it came to, once it is done; until then, what it has said of itself.
        "epoch": state.get("epochs", progress.get("epoch")),
        "epochs": progress.get("epochs", state.get("epochs")),
        "curve": curve,
        "metrics": state.get("metrics"),
        "trainingSeconds": state.get("seconds", curve[-1]["seconds"] if curve else None),
        "failureReason": trial.reason if trial.status in BROKEN else None,
        "creationDateTime": trial.created,
        "lastUpdatedDateTime": trial.updated,
    }
