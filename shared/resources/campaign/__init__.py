"""A campaign: a solution version that a runtime has loaded and answers for.

No command starts it: the runtimes watch for campaigns in motion, and one that has loaded the model and scored a
canary with it reports so.
"""

from shared.resources.campaign.requests import draft, listed_under
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DEPLOYABLE

resource = Resource(
    name="Campaign", draft=draft, lifecycle=DEPLOYABLE, get_parents=listed_under, quota=Quota(within="dataset_group")
)
