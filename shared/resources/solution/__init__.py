"""A solution: a recipe and its configuration, from which solution versions are trained."""

from shared.resources.resource_type import Quota, Resource
from shared.resources.solution.requests import draft, updated
from shared.resources.solution.view import view
from shared.state.lifecycle import IMMEDIATE
from shared.state.messages import Provision

resource = Resource(
    name="Solution",
    draft=draft,
    lifecycle=IMMEDIATE,
    command=Provision,
    apply_update=updated,
    blocked_by=("campaign",),
    busy_with=("solution_version", "batch_inference_job", "batch_segment_job"),
    owns=("solution_version", "trial", "batch_inference_job", "batch_segment_job"),
    view=view,
    quota=Quota(within="dataset_group"),
)
