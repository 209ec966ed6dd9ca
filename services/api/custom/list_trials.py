"""ListTrials, of foretaste's own service: every trial of a solution version, with its progress so far.

A version has at most 40 trials, so there are no pages. A version without HPO or AutoML has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.context import ApiContext
from shared.http.app import Call
from shared.resources.solution_version.requests import get_tuning_result
from shared.resources.trial import requests as trials
from shared.state.lifecycle import FAILED_STATUSES
from shared.store import Record


def list_trials(context: ApiContext, call: Call) -> Mapping[str, Any]:
    version = context.reading.find_record(call.request["solutionVersionArn"], "solution_version")
    won = (get_tuning_result(version) or {}).get("trial")
    return {
        "trials": [
            {**_describe_trial(trial), "won": trial.body["number"] == won}
            for trial in trials.list_trials(version, context.reading)
        ]
    }


def _describe_trial(trial: Record) -> Mapping[str, Any]:
    progress = trial.state.get("progress") or {}
    curve = [{"epoch": epoch, "gain": gain, "seconds": seconds} for epoch, gain, seconds in trials.read_curve(trial)]
    return {
        **trial.body,
        "trialArn": trial.arn,
        "status": trial.status,
        "pruned": bool(trial.state.get("pruned")),
        "worker": progress.get("worker"),
        # A trial that a worker resumed has only its curve at first.
        "epoch": progress.get("epoch", curve[-1]["epoch"] if curve else None),
        "epochs": progress.get("epochs"),
        "curve": curve,
        "metrics": trial.state.get("metrics"),
        "trainingSeconds": progress.get("seconds"),
        "failureReason": trial.reason if trial.status in FAILED_STATUSES else None,
        "creationDateTime": trial.created,
        "lastUpdatedDateTime": trial.updated,
    }
