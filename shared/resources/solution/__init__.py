"""A solution: a recipe and its configuration, from which solution versions are trained."""

from shared.resources.resource_type import Quota, Resource
from shared.resources.solution.requests import apply_update, build_draft
from shared.resources.solution.view import view_solution
from shared.state.lifecycle import IMMEDIATE
from shared.state.messages import Provision

resource = Resource(
    name="Solution",
    draft=build_draft,
    lifecycle=IMMEDIATE,
    command=Provision,
    apply_update=apply_update,
    blocked_by=("campaign",),
    busy_with=("solution_version", "batch_inference_job", "batch_segment_job"),
    owns=("solution_version", "trial", "batch_inference_job", "batch_segment_job"),
    view=view_solution,
    quota=Quota(within="dataset_group"),
)
