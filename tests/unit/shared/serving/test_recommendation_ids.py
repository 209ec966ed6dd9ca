"""A recommendation id tells its campaign, and nothing else of it."""

from __future__ import annotations

import pytest

from shared.serving.recommendation_ids import create_recommendation_id, digest_endpoint, read_endpoint_digest

CAMPAIGN = "arn:aws:personalize:us-east-1:000000000000:campaign/c"


def test_it_is_as_long_as_aws_allows_and_names_its_campaign() -> None:
    ids = {create_recommendation_id(CAMPAIGN) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {40}
    assert {read_endpoint_digest(each) for each in ids} == {digest_endpoint(CAMPAIGN)}
    assert digest_endpoint(CAMPAIGN) != digest_endpoint(CAMPAIGN.replace("campaign", "recommender"))


@pytest.mark.parametrize(
    "foreign",
    ["", "RID-1", "RID-21-471f-bf00-7cc2983ae289-CID-3bc5e1", "-CID-0123456g", "RID-0-CID-01234567 ", "-CID-012345678"],
)
def test_another_id_names_none(foreign: str) -> None:
    assert read_endpoint_digest(foreign) is None
