"""CreateBatchSegmentJob, DescribeBatchSegmentJob, ListBatchSegmentJobs: the jobs do their work, at a running system.

What a request is refused for: unit/services/api; what counts of users, events and lines: unit/workers/inference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import ROLE, SMALL, Life, Maker, column, refused

BY_ITEM = "arn:aws:personalize:::recipe/aws-item-affinity"
BY_ATTRIBUTES = "arn:aws:personalize:::recipe/aws-item-attribute-affinity"
ITEMS = (column("ITEM_ID"), column("GENRES", categorical=True))
USERS = (column("USER_ID"), column("COUNTRY", categorical=True))
#: Users with even numbers drink tea, the others coffee.
TEA = {f"u{user}" for user in range(0, 40, 2)}


@pytest.fixture(scope="module")
def group(make: Maker) -> str:
    """40 users with 40 events each: tea items i0 to i9, coffee items i10 to i19. Even users live in France."""
    made = make.group()
    events = [
        (f"u{user}", f"i{(user // 2 + step * (1 + step % 3)) % 10 + 10 * (user % 2)}", 1_600_000_000 + step, "buy", "")
        for step in range(40)
        for user in range(40)
    ]
    header = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE_KIND"
    job = make.imported(make.dataset(made), make.file(header, events))
    assert job["status"] == "ACTIVE", job
    make.filled(made, "Items", ITEMS, [(f"i{item}", "Hot|Tea" if item < 10 else "Hot|Coffee") for item in range(20)])
    make.filled(made, "Users", USERS, [(f"u{user}", "it" if user % 2 else "fr") for user in range(40)])
    return made


def run_job(make: Maker, version: str, lines: Sequence[Mapping[str, Any]], **more: Any) -> list[Any]:
    """Return the results of these lines."""
    bucket = make.bucket()
    (make.folder / "s3" / bucket / "in.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    request = {
        "jobName": make.name(),
        "solutionVersionArn": version,
        "roleArn": ROLE,
        "jobInput": {"s3DataSource": {"path": f"s3://{bucket}/in.json"}},
        "jobOutput": {"s3DataDestination": {"path": f"s3://{bucket}/out/"}},
        **more,
    }
    arn = make.client.create_batch_segment_job(**request)["batchSegmentJobArn"]
    job = make.settled("batch_segment_job", "batchSegmentJob", arn)
    assert job["status"] == "ACTIVE", job
    assert {member: job[member] for member in request} == request
    listed = make.client.list_batch_segment_jobs(solutionVersionArn=version)["batchSegmentJobs"]
    assert [one["status"] for one in listed if one["batchSegmentJobArn"] == arn] == ["ACTIVE"]
    text = (make.folder / "s3" / bucket / "out" / "in.json.out").read_text()
    return [json.loads(line) for line in text.splitlines()]


def train(make: Maker, group: str, recipe: str) -> str:
    version = make.trained(make.solution(group, recipe, solutionConfig=SMALL))
    assert version["status"] == "ACTIVE", version
    return str(version["solutionVersionArn"])


def test_an_item_gets_its_users_with_events_after_the_training_and_a_filter(
    system: System, make: Maker, group: str
) -> None:
    version = train(make, group, BY_ITEM)
    tea, coffee, bad = run_job(make, version, [{"itemId": "i3"}, {"itemId": "i13"}, {"itemId": "?"}], numResults=20)
    assert (tea["input"], tea["error"], list(tea["output"])) == ({"itemId": "i3"}, None, ["usersList"])
    assert set(tea["output"]["usersList"]) == TEA
    assert set(coffee["output"]["usersList"]).isdisjoint(TEA)
    assert bad["output"] is None
    assert bad["error"].startswith("The model does not know the item ?")
    # A user whom the training did not know, by events since then.
    _, tracking_id = make.tracker(group)
    events = [{"eventType": "buy", "itemId": f"i{item}", "sentAt": 1_700_000_000 + item} for item in range(4)]
    system.events.put_events(trackingId=tracking_id, userId="newcomer", sessionId="s", eventList=events)
    filter_arn = make.client.create_filter(
        name=make.name(),
        datasetGroupArn=group,
        filterExpression="EXCLUDE UserID WHERE Users.COUNTRY IN ($COUNTRY)",
    )["filterArn"]
    make.settled("filter", "filter", filter_arn)
    line = {"itemId": "i3", "filterValues": {"COUNTRY": '"fr"'}}
    [filtered] = run_job(make, version, [line], filterArn=filter_arn, numResults=50)
    assert filtered["input"] == line
    assert filtered["output"]["usersList"][0] == "newcomer"
    assert set(filtered["output"]["usersList"][1:]) == {f"u{user}" for user in range(1, 40, 2)}


@pytest.mark.nightly
def test_attributes_get_the_users_of_all_their_items(make: Maker, group: str) -> None:
    version = train(make, group, BY_ATTRIBUTES)
    lines = [
        {"itemAttributes": 'ITEMS.genres = "Tea" AND ITEMS.GENRES = "Hot"'},
        {"itemAttributes": 'ITEMS.GENRES = "Coffee"'},
        {"itemAttributes": 'ITEMS.GENRES = "Cold"'},
    ]
    tea, coffee, none = run_job(make, version, lines, numResults=20)
    # The newcomer of the test above drinks tea too, and is trained on here.
    assert set(tea["output"]["usersList"]) <= {*TEA, "newcomer"}
    assert set(coffee["output"]["usersList"]).isdisjoint({*TEA, "newcomer"})
    assert none["error"].startswith("No item that the model knows has these attributes.")


def test_a_version_of_another_type_is_refused(personalize: Any, make: Maker, life: Life) -> None:
    with refused("InvalidInputException", "USER_SEGMENTATION"):
        personalize.create_batch_segment_job(
            jobName=make.name(),
            solutionVersionArn=life.version,
            jobInput={"s3DataSource": {"path": "s3://bucket/items.json"}},
            jobOutput={"s3DataDestination": {"path": "s3://bucket/segments/"}},
            roleArn=ROLE,
        )
    assert personalize.list_batch_segment_jobs(solutionVersionArn=life.version)["batchSegmentJobs"] == []
