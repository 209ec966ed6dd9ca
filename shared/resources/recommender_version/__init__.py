"""A recommender's trained model, which AWS's API does not show.

It is the counterpart of a campaign's solution version: training, metrics and deployment are the same for both.
"""

from shared.resources.recommender_version.requests import build_draft
from shared.resources.resource_type import Resource
from shared.state.lifecycle import JOB
from shared.state.messages import TrainSolutionVersion

resource = Resource(
    name="RecommenderVersion", draft=build_draft, lifecycle=JOB, command=TrainSolutionVersion, hidden=True
)
