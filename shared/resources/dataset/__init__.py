"""A dataset: the interactions, items, users, actions or action interactions of a dataset group.

Its records are imported in bulk or put one by one.
"""

from shared.resources.dataset.requests import build_draft, get_parents
from shared.resources.resource_type import Resource
from shared.state.lifecycle import DEPLOYABLE, UPDATE_IN_PLACE
from shared.state.messages import Provision

resource = Resource(
    name="Dataset",
    draft=build_draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    update=UPDATE_IN_PLACE,
    get_parents=get_parents,
    busy_with=("dataset_import_job", "solution_version", "recommender_version"),
    owns=("dataset_import_job", "dataset_export_job"),
    holds_interactions=True,
)
