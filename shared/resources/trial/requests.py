"""The records of trials: the tuner writes them, and the API reads their progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.aws import arns
from shared.resources.resource_type import Draft, ResourceReader
from shared.store import Record


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    """``request`` has solutionVersionArn, recipeArn, number and all hyperparameters. Raises ResourceNotFound."""
    version = reader.find_record(request["solutionVersionArn"], "solution_version")
    parsed = arns.parse_arn(version.arn)
    assert parsed is not None  # noqa: S101 - the version was found by it
    return Draft(
        arn=reader.build_arn("trial", f"{parsed.name}/{request['number']:03}"),
        body={member: request[member] for member in ("recipeArn", "number", "parameters")},
        parents=(version.arn, version.body["solutionArn"]),
        # A trial begins only if the version, and with it the tuner's view of its trials, has not changed.
        guards=(version,),
    )


def list_trials(version: Record, reader: ResourceReader) -> list[Record]:
    """Return the trials of a solution version, by number."""
    return sorted(reader.iter_children("trial", version.arn), key=lambda trial: int(trial.body["number"]))


def read_curve(trial: Record) -> Sequence[tuple[int, float, float]]:
    """(epoch, gain of the validation users, seconds since the trial began), by epoch."""
    told = trial.state.get("progress", {}).get("curve", ())
    return [(int(epoch), float(gain), float(seconds)) for epoch, gain, seconds in told]


def get_workspace(of_version: Path, number: int) -> Path:
    """Return the folder of the trial's checkpoints, which lasts until the version is trained."""
    return of_version / "trials" / f"{number:03}"
