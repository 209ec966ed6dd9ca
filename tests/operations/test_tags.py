"""TagResource, UntagResource, ListTagsForResource, through boto3. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import Maker, refused


def test_it_works(personalize: Any, make: Maker) -> None:
    team, stage = {"tagKey": "team", "tagValue": "Größe 7"}, {"tagKey": "stage", "tagValue": ""}
    arn = personalize.create_dataset_group(name=make.name(), tags=[team])["datasetGroupArn"]
    personalize.tag_resource(resourceArn=arn, tags=[stage])
    assert make.settled("dataset_group", "datasetGroup", arn)["status"] == "ACTIVE"
    assert personalize.list_tags_for_resource(resourceArn=arn)["tags"] == [team, stage]
    personalize.untag_resource(resourceArn=arn, tagKeys=["team", "unknown"])
    assert personalize.list_tags_for_resource(resourceArn=arn)["tags"] == [stage]
    with refused("TooManyTagsException", "50"):
        more = [{"tagKey": str(number), "tagValue": ""} for number in range(50)]
        personalize.tag_resource(resourceArn=arn, tags=more)
    with refused("InvalidInputException", "can't have tags"):
        personalize.list_tags_for_resource(resourceArn=make.schema())
