"""A dataset: the interactions, items or users of a dataset group, imported in bulk and sent as live events."""

from shared.lifecycle import DEPLOYABLE
from shared.messages import Provision
from shared.resources.contract import Resource
from shared.resources.dataset.requests import draft

resource = Resource(
    name="Dataset",
    draft=draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    busy_with=("dataset_import_job", "solution_version", "recommender_version"),
    owns=("dataset_import_job",),
    holds_interactions=True,
)
