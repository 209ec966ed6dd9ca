"""GetActionRecommendations: only a campaign of Next-Best-Action answers it, and no release offers that recipe yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.runtime.deployed import Deployed
from services.runtime.served import served
from shared.aws.errors import NotOffered
from shared.aws.web import Call
from shared.resources import Reading


def get_action_recommendations(reading: Reading, deployed: Deployed, call: Call) -> Mapping[str, Any]:
    served(reading, deployed, call.request, "PERSONALIZED_ACTIONS")
    raise NotOffered("GetActionRecommendations")
