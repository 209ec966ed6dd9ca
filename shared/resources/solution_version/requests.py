"""The checks of CreateSolutionVersion beyond the service model, and the members that a finished training adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared import recipes
from shared.aws import arns
from shared.aws.errors import InvalidInput
from shared.resources.dataset.requests import find_columns
from shared.resources.dataset_import_job import list_current_jobs, refuse_while_importing
from shared.resources.resource_type import Draft, ResourceReader
from shared.resources.solution import tuning
from shared.state.lifecycle import ACTIVE
from shared.state.messages import Command, TrainSolutionVersion, TuneSolutionVersion
from shared.store import Record

FULL, UPDATE, AUTOTRAIN = "FULL", "UPDATE", "AUTOTRAIN"
MANUAL, AUTOMATIC = "MANUAL", "AUTOMATIC"
REPEATED = (
    "recipeArn",
    "eventType",
    "datasetGroupArn",
    "solutionConfig",
    "performHPO",
    "performAutoML",
    "performIncrementalUpdate",
)


def build_draft(request: Mapping[str, Any], reader: ResourceReader, *, training_type: str = MANUAL) -> Draft:
    """Build the draft. ``training_type``: MANUAL for a client, AUTOMATIC for the solution's schedule."""
    solution = reader.find_active(request["solutionArn"], "solution")
    group_arn = solution.body["datasetGroupArn"]
    datasets = tuple(reader.iter_children("dataset", group_arn))
    for dataset in datasets:
        refuse_while_importing(dataset.arn, reader)
    mode = request.get("trainingMode", FULL)
    base = _find_base(solution, mode, reader)
    number = arns.create_id()
    name = f"{solution.body['name']}/{number}"
    return Draft(
        arn=reader.build_arn("solution", name),
        body={
            **{member: solution.body.get(member) for member in REPEATED},
            "name": request.get("name", name),
            "solutionArn": solution.arn,
            "trainingMode": mode,
            "trainingType": training_type,
        },
        # The imports to train on are fixed now: a later attempt must train on the same data.
        state={
            "imports": list_current_jobs(datasets, reader),
            **({"base": base.arn} if base else {}),
            **({"candidates": _list_candidates(solution, reader)} if solution.body.get("performAutoML") else {}),
        },
        parents=(solution.arn, group_arn, *(dataset.arn for dataset in datasets)),
        claims=(f"solution-version:{solution.arn}:{request['name']}",) if "name" in request else (),
        guards=(solution, *datasets),
    )


def _list_candidates(solution: Record, reader: ResourceReader) -> list[str]:
    group_arn = solution.body["datasetGroupArn"]
    described = any(find_columns(group_arn, table, reader) is not None for table in ("ITEMS", "USERS"))
    competing = tuning.list_candidates(solution.body.get("solutionConfig") or {}, described=described)
    return [recipe.arn for recipe in competing]


def _find_base(solution: Record, mode: str, reader: ResourceReader) -> Record | None:
    """Return the version that an UPDATE continues from; None for a FULL training. Raises InvalidInput."""
    arn = solution.body.get("recipeArn")
    recipe = recipes.find_recipe(arn) if arn else None
    if arn and recipe is None:
        raise InvalidInput(f"The recipe {arn} is not offered by this release.")
    if mode == FULL:
        return None
    if mode == AUTOTRAIN or recipe is None or mode not in recipe.training.modes:
        raise InvalidInput(f"The recipe {arn or 'that AutoML chooses'} can't be trained in mode {mode}; use {FULL}.")
    base = find_newest_full(solution.arn, reader)
    if base is None:
        raise InvalidInput(f"{solution.arn} has no {ACTIVE} version that was trained {FULL}: train one first.")
    return base


def find_newest_full(solution_arn: str, reader: ResourceReader) -> Record | None:
    """Return the newest usable version that was trained from all data."""
    for version in reader.iter_children("solution_version", solution_arn):
        if version.status == ACTIVE and version.body["trainingMode"] == FULL:
            return version
    return None


def choose_command(version: Record) -> type[Command]:
    """Return the command of a version: HPO and AutoML come before the training.

    An UPDATE has the hyperparameters of its base and is not tuned.
    """
    asked = version.body.get("performHPO") or version.body.get("performAutoML")
    if asked and version.body["trainingMode"] != UPDATE and get_tuning_result(version) is None:
        return TuneSolutionVersion
    return TrainSolutionVersion


def get_tuning_result(version: Record) -> Mapping[str, Any] | None:
    """Return the result of HPO or AutoML; None before its end, or without them.

    Its members: recipeArn, parameters (all), searched (the names of those that were searched), trial (the winner's
    number) and seconds (of all trials).
    """
    kept: Mapping[str, Any] | None = version.state.get("tuned")
    return kept


def list_imports(version: Record, dataset_type: str) -> list[str]:
    """Return the ARNs of the import jobs that the version trains on, oldest first."""
    frozen = version.state["imports"]
    if isinstance(frozen, list):  # of a version created when training read the interactions alone
        frozen = {"INTERACTIONS": frozen}
    return list(reversed(frozen.get(dataset_type, [])))


def apply_outcome(record: Record, outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    won = get_tuning_result(record)
    if won is None:
        return {**record.body, "trainingHours": _to_hours(outcome["seconds"])}
    searched = {name: won["parameters"][name] for name in won["searched"]}
    return {
        **record.body,
        "recipeArn": won["recipeArn"],
        "trainingHours": _to_hours(outcome["seconds"] + won["seconds"]),
        **({"tunedHPOParams": {"algorithmHyperParameters": searched}} if searched else {}),
    }


def _to_hours(seconds: float) -> float:
    return round(float(seconds) / 3600, 3)
