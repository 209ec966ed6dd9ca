"""What the tuner writes of a trial, and what can be read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.aws import arns
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record


def build_draft(request: Mapping[str, Any], reading: ResourceReader) -> Draft:
    """``request`` has solutionVersionArn, recipeArn, number and all hyperparameters. Raises ResourceNotFound."""
    version = reading.find_record(request["solutionVersionArn"], "solution_version")
    parsed = arns.parse_arn(version.arn)
    assert parsed is not None  # noqa: S101 - it has just been found
    return Draft(
        arn=reading.build_arn("trial", f"{parsed.name}/{request['number']:03}"),
        body={member: request[member] for member in ("recipeArn", "number", "parameters")},
        parents=(version.arn, version.body["solutionArn"]),
        # A trial is begun only if the version, and so what is known of its trials, is as it was.
        guards=(version,),
    )


def list_trials(version: Record, reading: ResourceReader) -> list[Record]:
    """The trials of a solution version, by number."""
    return sorted(reading.iter_children("trial", version.arn), key=lambda trial: int(trial.body["number"]))


def read_curve(trial: Record) -> Sequence[tuple[int, float, float]]:
    """(epoch, gain of the validation users, seconds since the trial began), by epoch."""
    told = trial.state.get("progress", {}).get("curve", ())
    return [(int(epoch), float(gain), float(seconds)) for epoch, gain, seconds in told]


def get_workspace(of_version: Path, number: int) -> Path:
    """Where the trial's checkpoints lie, for as long as the version is not trained."""
    return of_version / "trials" / f"{number:03}"
