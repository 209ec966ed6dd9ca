"""A filter: a named rule of a dataset group that selects the items, users or actions of an answer."""

from shared.resources.filter.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DEPLOYABLE
from shared.state.messages import Provision

resource = Resource(
    name="Filter",
    draft=build_draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    busy_with=("batch_inference_job", "batch_segment_job"),
    quota=Quota(within="dataset_group"),
)
