"""What answers a request: the campaign or recommender that it names, and its model."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.runtime.loader import ModelLoader, StillLoading
from shared.aws.errors import InvalidInput, ServiceUnavailable
from shared.recipes import Recipe
from shared.recipes.scoring_api import Query
from shared.resources import ResourceReader
from shared.serving import pipeline
from shared.serving.filters import FilterCache
from shared.serving.model_cache import LoadedModel, ModelCache, NotDeployable
from shared.serving.user_history import read_history
from shared.state.lifecycle import ACTIVE
from shared.store import Record, Store

#: What a runtime answers for.
ENDPOINT_KINDS = ("campaign", "recommender")
#: The member of a request that names it -> the member of its body that configures it.
CONFIGS = {"campaignArn": "campaignConfig", "recommenderArn": "recommenderConfig"}


@dataclass(frozen=True)
class RuntimeContext:
    """What the operations of a runtime work with."""

    reader: ResourceReader
    store: Store
    models: ModelCache
    loader: ModelLoader
    filters: FilterCache


@dataclass(frozen=True)
class Endpoint:
    record: Record
    """A campaign or a recommender, ACTIVE."""
    model: LoadedModel
    config: Mapping[str, Any]
    """Its CampaignConfig or RecommenderConfig."""

    @property
    def recipe(self) -> Recipe:
        return self.model.recipe


def resolve_endpoint(serving: RuntimeContext, request: Mapping[str, Any], *types: str) -> Endpoint:
    """What the request names, which must be of one of these recipe types.

    Raises ResourceNotFound, InvalidInput where it can't be asked now or not so, and ServiceUnavailable where its model
    can't be loaded, or is not yet.
    """
    named = [member for member in CONFIGS if request.get(member)]
    if len(named) != 1:
        raise InvalidInput("Give either a campaignArn or a recommenderArn, and not both.")
    noun = named[0].removesuffix("Arn")
    record = serving.reader.find_record(request[named[0]], noun)
    if record.status != ACTIVE:
        raise InvalidInput(f"The {noun} {record.arn} is in status {record.status}; it must be {ACTIVE}.")
    try:
        model = serving.loader.wait_for_model(record.body["solutionVersionArn"])
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


def build_query(of: Endpoint, request: Mapping[str, Any], store: Store) -> Query:
    """Build the query for the endpoint's model. Raises InvalidInput where the request lacks what the recipe needs."""
    pipeline.check_members(of.recipe, request)
    return pipeline.build_query(
        of.recipe,
        request,
        of.config,
        now=store.now(),
        history=read_history(of.model, request.get("userId") or "", store)
        if of.recipe.serving.reads_live_events
        else (),
    )


def create_recommendation_id() -> str:
    """At most 40 characters, as AWS's."""
    return f"RID-{uuid.uuid4()}"
