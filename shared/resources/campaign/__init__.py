"""A campaign: a solution version that a runtime has loaded and answers for.

No command starts its work: the runtimes watch for campaigns in progress, and one that has loaded the model and run
canary queries on it reports so.
"""

from shared.resources.campaign.requests import build_draft, get_parents
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DEPLOYABLE

resource = Resource(
    name="Campaign",
    draft=build_draft,
    lifecycle=DEPLOYABLE,
    get_parents=get_parents,
    quota=Quota(within="dataset_group"),
)
