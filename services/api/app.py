"""The API service: X-Amz-Target -> operation -> answer; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from flask import Flask

from services.api import (
    get_solution_metrics,
    recipes,
    stop_solution_version_creation,
    update_campaign,
)
from services.api.operations import Desk, create, delete, describe, page
from shared import queue, settings, telemetry
from shared.aws import web
from shared.resources import RESOURCES, Reading
from shared.store.redis import RedisStore

#: The operations that are no plain verb of one resource, a file each.
ODDITIES: Mapping[str, Callable[[Desk, web.Call], Mapping[str, object] | web.Answer | None]] = {
    "DescribeAlgorithm": recipes.describe_algorithm,
    "DescribeFeatureTransformation": recipes.describe_feature_transformation,
    "DescribeRecipe": recipes.describe_recipe,
    "GetSolutionMetrics": get_solution_metrics.get_solution_metrics,
    "ListRecipes": recipes.list_recipes,
    "StopSolutionVersionCreation": stop_solution_version_creation.stop_solution_version_creation,
    "UpdateCampaign": update_campaign.update_campaign,
}

#: Types that AWS's API can't delete: they vanish with what they belong to.
UNDELETABLE = frozenset({"DatasetImportJob", "SolutionVersion"})


def handlers(desk: Desk) -> dict[str, web.Handler]:
    """Every operation that is offered, by its name."""
    offered: dict[str, web.Handler] = {name: partial(oddity, desk) for name, oddity in ODDITIES.items()}
    for resource in RESOURCES.values():
        offered[f"Create{resource.name}"] = partial(create, desk, resource)
        offered[f"Describe{resource.name}"] = partial(describe, desk, resource)
        offered[f"List{resource.name}s"] = partial(page, desk, resource)
        if resource.name not in UNDELETABLE:
            offered[f"Delete{resource.name}"] = partial(delete, desk, resource)
    return offered


def create_app() -> Flask:
    """For gunicorn: the application of this process, from the environment."""
    configured = settings.load()
    telemetry.configure(configured, "api")
    store = RedisStore(configured.redis_url)
    desk = Desk(store, queue.Queue(queue.application(configured)), Reading(store, configured))
    return web.create_app("personalize", handlers(desk), keys=configured.keys)
