"""A recommender: a use case of a domain, trained, retrained and deployed as one; it can be stopped and started.

Its model is a ``recommender_version``, the counterpart of a campaign's solution version. The version's ARN stands in
the body as ``solutionVersionArn``, a member that AWS's answers do not have.
"""

from shared.resources.recommender.requests import build_draft
from shared.resources.recommender.view import view_recommender
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import SWITCHABLE
from shared.state.messages import AdvanceRecommender

resource = Resource(
    name="Recommender",
    draft=build_draft,
    lifecycle=SWITCHABLE,
    command=AdvanceRecommender,
    owns=("recommender_version",),
    view=view_recommender,
    quota=Quota(within="dataset_group"),
)
