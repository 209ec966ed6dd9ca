"""Resolve the campaign or recommender that a request names, and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.runtime.loader import ModelLoader, StillLoading
from services.runtime.recommendation_counter import RecommendationCounter
from shared.aws.errors import InvalidInput, ServiceUnavailable
from shared.recipes import Recipe
from shared.recipes.scoring_api import Query
from shared.resources import ResourceReader
from shared.serving import pipeline
from shared.serving.filters import FilterCache
from shared.serving.model_cache import LoadedModel, ModelCache, NotDeployable
from shared.serving.recommendation_ids import create_recommendation_id
from shared.serving.user_history import read_history
from shared.state.lifecycle import ACTIVE
from shared.store import Record, Store

#: The kinds of records that a runtime answers for.
ENDPOINT_KINDS = ("campaign", "recommender")
#: The member of a request that names an endpoint -> the member of its record's body that configures it.
CONFIGS = {"campaignArn": "campaignConfig", "recommenderArn": "recommenderConfig"}


@dataclass(frozen=True)
class RuntimeContext:
    """The parts that every operation of a runtime needs."""

    reader: ResourceReader
    store: Store
    models: ModelCache
    loader: ModelLoader
    filters: FilterCache
    counter: RecommendationCounter = field(default_factory=RecommendationCounter)


@dataclass(frozen=True)
class Endpoint:
    """An ACTIVE campaign or recommender, with the model that answers for it."""

    record: Record
    model: LoadedModel
    config: Mapping[str, Any]
    """Its CampaignConfig or RecommenderConfig."""

    @property
    def recipe(self) -> Recipe:
        return self.model.recipe


def resolve_endpoint(context: RuntimeContext, request: Mapping[str, Any], *types: str) -> Endpoint:
    """Return the endpoint that the request names; its recipe must be of one of ``types``.

    Raises ResourceNotFound; InvalidInput where the endpoint is not ACTIVE or its recipe is of another type; and
    ServiceUnavailable where its model can't be loaded or is still being loaded.
    """
    named = [member for member in CONFIGS if request.get(member)]
    if len(named) != 1:
        raise InvalidInput("Give either a campaignArn or a recommenderArn, and not both.")
    noun = named[0].removesuffix("Arn")
    record = context.reader.find_record(request[named[0]], noun)
    if record.status != ACTIVE:
        raise InvalidInput(f"The {noun} {record.arn} is in status {record.status}; it must be {ACTIVE}.")
    try:
        model = context.loader.wait_for_model(record.body["solutionVersionArn"])
    except NotDeployable as error:
        raise ServiceUnavailable(f"The {noun} {record.arn} can't answer: {error}") from error
    except StillLoading as error:
        raise ServiceUnavailable(f"The {noun} {record.arn} can't answer yet: {error} Please try again.") from error
    if model.recipe.recipe_type not in types:
        raise InvalidInput(
            f"The {noun} {record.arn} is of {model.recipe.name}, a recipe of type {model.recipe.recipe_type}; "
            f"this operation needs one of type {' or '.join(types)}."
        )
    return Endpoint(record, model, record.body.get(CONFIGS[named[0]]) or {})


def build_query(endpoint: Endpoint, request: Mapping[str, Any], context: RuntimeContext) -> Query:
    """Build the query for the endpoint's model. Raises InvalidInput where a member is missing."""
    pipeline.check_members(endpoint.recipe, request)
    user_id = request.get("userId") or ""
    reads_live_events = endpoint.recipe.serving.reads_live_events
    return pipeline.build_query(
        endpoint.recipe,
        request,
        endpoint.config,
        now=context.store.now(),
        history=read_history(endpoint.model, user_id, context.filters.live_events) if reads_live_events else (),
    )


def register_answer(context: RuntimeContext, endpoint: Endpoint, query: Query, *, empty: bool) -> str:
    """Return the id of a new recommendation, and count it unless its list is empty."""
    if not empty:
        context.counter.count_answer(endpoint.model.group, endpoint.record.arn, query.now)
    return create_recommendation_id(endpoint.record.arn)
