"""A solution version: one trained model, with the metrics of its evaluation."""

from shared.resources.resource_type import Quota, Resource
from shared.resources.solution_version.requests import apply_outcome, build_draft, choose_command
from shared.state.lifecycle import TRAINED
from shared.state.messages import TrainSolutionVersion

resource = Resource(
    name="SolutionVersion",
    draft=build_draft,
    lifecycle=TRAINED,
    command=TrainSolutionVersion,
    choose_command=choose_command,
    apply_outcome=apply_outcome,
    needed_to_list="solution",
    quota=Quota(pending=True),
)
