"""A dataset group: the container of the datasets, solutions and trackers of one application."""

from shared.resources.dataset_group.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DEPLOYABLE
from shared.state.messages import Provision

resource = Resource(
    name="DatasetGroup",
    draft=build_draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    # In the order in which AWS deletes them: a refusal names the next one to delete.
    blocked_by=("recommender", "solution", "filter", "event_tracker", "metric_attribution", "dataset"),
    busy_with=("data_deletion_job",),
    owns=("data_deletion_job",),
    quota=Quota(),
)
