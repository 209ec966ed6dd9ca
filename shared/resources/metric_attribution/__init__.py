"""A metric attribution: the sums over events that a dataset group reports, by the sources of the events."""

from shared.resources.metric_attribution.requests import build_draft
from shared.resources.resource_type import Resource
from shared.state.lifecycle import DEPLOYABLE, UPDATE_IN_PLACE
from shared.state.messages import Provision

resource = Resource(
    name="MetricAttribution",
    draft=build_draft,
    lifecycle=DEPLOYABLE,
    command=Provision,
    update=UPDATE_IN_PLACE,
    holds_sums=True,
)
