"""A solution version: one trained model, with the metrics that it was evaluated by."""

from shared.resources.resource_type import Quota, Resource
from shared.resources.solution_version.requests import chooses, draft, finished
from shared.state.lifecycle import TRAINED
from shared.state.messages import TrainSolutionVersion

resource = Resource(
    name="SolutionVersion",
    draft=draft,
    lifecycle=TRAINED,
    command=TrainSolutionVersion,
    choose_command=chooses,
    apply_outcome=finished,
    needed_to_list="solution",
    quota=Quota(pending=True),
)
