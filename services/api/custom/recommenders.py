"""UpdateRecommender, StopRecommender, StartRecommender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.api.context import ApiContext, run_once
from services.api.operations import request_transition, request_update
from shared import recipes
from shared.aws.errors import InvalidInput, ResourceNotFound
from shared.http.app import Call
from shared.resources import RESOURCES
from shared.resources.recommender.requests import check_config, create_version_arn
from shared.resources.resource_type import is_terminal
from shared.state.lifecycle import ACTIVE, TransitionRequest

RECOMMENDER = RESOURCES["recommender"]


def update_recommender(context: ApiContext, call: Call) -> Mapping[str, Any]:
    """Request an update. The old model and settings go on answering until the new ones can."""
    run_once(context, call, lambda bound: _request_update(bound, call.request))
    return {"recommenderArn": call.request["recommenderArn"]}


def _request_update(context: ApiContext, request: Mapping[str, Any]) -> None:
    recommender = context.reading.find_record(request["recommenderArn"], "recommender")
    if is_terminal(recommender) and recommender.status != ACTIVE:
        raise InvalidInput(f"{recommender.arn} is in status {recommender.status}; it must be {ACTIVE} to be updated.")
    recipe = recipes.find_recipe(recommender.body["recipeArn"])
    if recipe is None:
        raise ResourceNotFound(f"The recipe {recommender.body['recipeArn']} is not offered any more.")
    group = context.reading.find_active(recommender.body["datasetGroupArn"], "dataset_group")
    standing = recommender.body["recommenderConfig"]
    wanted = {
        "minRecommendationRequestsPerSecond": standing["minRecommendationRequestsPerSecond"],
        **check_config(request["recommenderConfig"], recipe, group, context.reading),
    }
    if wanted == standing:
        raise InvalidInput(f"The recommenderConfig is the one that {recommender.arn} has already.")
    # Other columns need another model; the other settings act at the time of a request.
    retrained = wanted.get("trainingDataConfig") != standing.get("trainingDataConfig")
    version = create_version_arn(recommender.arn) if retrained else recommender.body["solutionVersionArn"]
    request_update(
        context,
        RECOMMENDER,
        recommender,
        {"recommenderConfig": wanted, "solutionVersionArn": version},
        guards=[group],
    )


def stop_recommender(context: ApiContext, call: Call) -> Mapping[str, Any]:
    return _request_transition_once(context, call, TransitionRequest.STOP)


def start_recommender(context: ApiContext, call: Call) -> Mapping[str, Any]:
    return _request_transition_once(context, call, TransitionRequest.START)


def _request_transition_once(context: ApiContext, call: Call, wanted: TransitionRequest) -> Mapping[str, Any]:
    arn = call.request["recommenderArn"]
    run_once(
        context,
        call,
        lambda bound: request_transition(bound, RECOMMENDER, bound.reading.find_record(arn, "recommender"), wanted),
    )
    return {"recommenderArn": arn}
