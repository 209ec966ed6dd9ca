"""A dataset group: what holds the datasets, solutions and trackers of one application."""

from shared.lifecycle import DEPLOYABLE
from shared.messages import Provision
from shared.resources.contract import Resource
from shared.resources.dataset_group.requests import draft

resource = Resource(
    name="DatasetGroup",
    draft=draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    blocked_by=("dataset", "solution", "recommender", "event_tracker", "filter"),
    busy_with=("data_deletion_job",),
    owns=("data_deletion_job",),
)
