"""The API service: the handler of each X-Amz-Target.

It answers two services: the control plane of Amazon Personalize and foretaste's own
(`shared.aws.service_model.OWN_SERVICE`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial

from flask import Flask

from services.api.context import ApiContext
from services.api.custom import (
    get_solution_metrics,
    list_metric_attribution_metrics,
    list_metric_attribution_values,
    list_trials,
    recipes,
    recommenders,
    stop_solution_version_creation,
    tags,
    update_campaign,
    update_dataset,
    update_metric_attribution,
    update_solution,
)
from services.api.operations import create_resource, delete_resource, describe_resource, list_resources
from services.api.store_metrics import StoreMetrics
from shared import settings
from shared.aws import service_model
from shared.http import app
from shared.http.rate_limits import create_throttle
from shared.jobs import celery_app
from shared.observability import logging
from shared.observability.health import HealthEndpoints
from shared.resources import RESOURCES, Resource, ResourceReader
from shared.store.data_format import check_data_format
from shared.store.redis import RedisStore
from shared.store.redis_probe import RedisProbe

#: The operations that are not create, describe, list or delete; each family has a file in `custom/`.
CUSTOM_OPERATIONS: Mapping[str, Callable[[ApiContext, app.Call], Mapping[str, object] | app.Answer | None]] = {
    "DescribeAlgorithm": recipes.describe_algorithm,
    "DescribeFeatureTransformation": recipes.describe_feature_transformation,
    "DescribeRecipe": recipes.describe_recipe,
    "GetSolutionMetrics": get_solution_metrics.get_solution_metrics,
    "ListMetricAttributionMetrics": list_metric_attribution_metrics.list_metric_attribution_metrics,
    "ListRecipes": recipes.list_recipes,
    "ListTagsForResource": tags.list_tags_for_resource,
    "StartRecommender": recommenders.start_recommender,
    "StopRecommender": recommenders.stop_recommender,
    "StopSolutionVersionCreation": stop_solution_version_creation.stop_solution_version_creation,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "UpdateCampaign": update_campaign.update_campaign,
    "UpdateDataset": update_dataset.update_dataset,
    "UpdateMetricAttribution": update_metric_attribution.update_metric_attribution,
    "UpdateRecommender": recommenders.update_recommender,
    "UpdateSolution": update_solution.update_solution,
}

#: The operations of every resource type, by the form of their names. AWS's model lacks some: it can't delete jobs.
RESOURCE_OPERATIONS: Mapping[
    str, Callable[[ApiContext, Resource, app.Call], Mapping[str, object] | app.Answer | None]
] = {
    "Create{}": create_resource,
    "Describe{}": describe_resource,
    "List{}s": list_resources,
    "Delete{}": delete_resource,
}

#: The operations of foretaste's own service.
OWN_OPERATIONS: Mapping[str, Callable[[ApiContext, app.Call], Mapping[str, object]]] = {
    "ListMetricAttributionValues": list_metric_attribution_values.list_metric_attribution_values,
    "ListTrials": list_trials.list_trials,
}


def build_handlers(context: ApiContext) -> dict[str, app.OperationHandler]:
    """Build the handlers of all control-plane operations that are offered, by operation name."""
    offered: dict[str, app.OperationHandler] = {
        name: partial(oddity, context) for name, oddity in CUSTOM_OPERATIONS.items()
    }
    for resource, (verb, operation) in itertools.product(RESOURCES.values(), RESOURCE_OPERATIONS.items()):
        if (name := verb.format(resource.name)) in service_model.load_operations("personalize"):
            offered[name] = partial(operation, context, resource)
    return offered


def build_own_handlers(context: ApiContext) -> dict[str, app.OperationHandler]:
    """Build the handlers of foretaste's own service, by operation name."""
    return {name: partial(operation, context) for name, operation in OWN_OPERATIONS.items()}


def create_app() -> Flask:
    """Create the application of this process from the environment; gunicorn calls this."""
    configured = settings.load()
    logging.configure_logging(configured, "api")
    check_data_format(configured.redis_url)
    store = RedisStore(configured.redis_url, for_clients=True)
    context = ApiContext(
        store, celery_app.MessageQueue(celery_app.create_celery_app(configured)), ResourceReader(store, configured)
    )
    probe = RedisProbe(configured.redis_url)
    state = StoreMetrics(store, context.queue.count_waiting, probe)
    # Reads go on without room on disk or in memory, so /readyz names that lack and stays at 200.
    health = HealthEndpoints(
        "api", ready={"redis": probe.is_answering}, informative=probe.write_checks, collector=state
    )
    health.start_server(configured.metrics_bind)
    offered = {"personalize": build_handlers(context), service_model.OWN_SERVICE: build_own_handlers(context)}
    return app.create_app(offered, keys=configured.keys, health=health, throttle=create_throttle(configured))
