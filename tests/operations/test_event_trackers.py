"""CreateEventTracker, DescribeEventTracker, ListEventTrackers, DeleteEventTracker."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.operations.conftest import Maker, refused


def test_it_works(personalize: Any, make: Maker) -> None:
    group, name = make.group(), make.name()
    created = personalize.create_event_tracker(name=name, datasetGroupArn=group)
    start = "arn:aws:personalize:us-east-1:000000000000:event-tracker/"
    assert re.fullmatch(start + "[0-9a-f]{8}", created["eventTrackerArn"])
    assert str(uuid.UUID(created["trackingId"])) == created["trackingId"]
    tracker = make.settled("event_tracker", "eventTracker", created["eventTrackerArn"])
    assert (tracker["name"], tracker["trackingId"]) == (name, created["trackingId"])
    assert (tracker["accountId"], tracker["datasetGroupArn"]) == ("000000000000", group)
    [listed] = personalize.list_event_trackers(datasetGroupArn=group)["eventTrackers"]
    assert listed["eventTrackerArn"] == created["eventTrackerArn"]


def test_a_second_of_its_group_is_refused(personalize: Any, make: Maker) -> None:
    group = make.group()
    arn, _ = make.tracker(group)
    with refused("ResourceAlreadyExistsException", arn):
        personalize.create_event_tracker(name=make.name(), datasetGroupArn=group)


def test_after_deletion_a_new_one_has_a_new_id(personalize: Any, make: Maker) -> None:
    group = make.group()
    arn, tracking_id = make.tracker(group)
    personalize.delete_event_tracker(eventTrackerArn=arn)
    make.gone("event_tracker", "eventTracker", arn)
    second, another_id = make.tracker(group)
    assert (second, another_id) != (arn, tracking_id)
