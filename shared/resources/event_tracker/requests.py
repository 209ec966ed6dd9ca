"""The checks of CreateEventTracker beyond the service model: one tracker per dataset group."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from shared.aws import arns
from shared.resources.resource_type import Draft, ResourceReader


def build_tracking_claim(tracking_id: str) -> str:
    """Return the claim by which PutEvents finds the tracker."""
    return f"tracking-id:{tracking_id}"


def build_draft(request: Mapping[str, Any], reader: ResourceReader) -> Draft:
    group = reader.find_active(request["datasetGroupArn"], "dataset_group")
    tracking_id = str(uuid.uuid4())
    return Draft(
        arn=reader.build_arn("event-tracker", arns.create_id()),
        body={
            "name": request["name"],
            "accountId": reader.settings.account_id,
            "trackingId": tracking_id,
            "datasetGroupArn": group.arn,
        },
        parents=(group.arn,),
        claims=(
            build_tracking_claim(tracking_id),
            f"event-tracker-of:{group.arn}",
            f"event-tracker-name:{request['name']}",
        ),
        guards=(group,),
    )
