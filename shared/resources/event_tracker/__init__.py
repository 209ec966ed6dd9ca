"""An event tracker: the id under which live events reach a dataset group."""

from shared.resources.event_tracker.requests import build_draft, build_tracking_claim
from shared.resources.resource_type import Resource
from shared.state.lifecycle import DEPLOYABLE
from shared.state.messages import Provision

__all__ = ["build_tracking_claim", "resource"]

resource = Resource(name="EventTracker", draft=build_draft, lifecycle=DEPLOYABLE, command=Provision)
