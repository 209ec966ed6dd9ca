"""ARNs: taken apart, and what type of resource each names."""

from __future__ import annotations

import pytest

from shared.aws import arns
from shared.resources import RESOURCES

START = "arn:aws:personalize:us-east-1:000000000000:"


@pytest.mark.parametrize(
    ("resource", "noun"),
    [
        ("dataset-group/g", "dataset_group"),
        ("schema/s", "schema"),
        ("dataset/g/INTERACTIONS", "dataset"),
        ("solution/s", "solution"),
        ("solution/s/0a1b2c3d", "solution_version"),
        ("recommender/r", "recommender"),
        ("recommender/r/0a1b2c3d", "recommender_version"),
        ("batch-inference-job/j", "batch_inference_job"),
        ("metric-attribution/m", "metric_attribution"),
    ],
)
def test_an_arn_says_of_what_type_it_is(resource: str, noun: str) -> None:
    assert arns.parse_noun(START + resource) == noun
    assert noun in RESOURCES
    assert str(arns.parse_arn(START + resource)) == START + resource


@pytest.mark.parametrize("text", ["", "solution/s", START + "solution", "arn:aws:s3:::bucket/key"])
def test_what_is_no_personalize_arn_is_of_no_type(text: str) -> None:
    assert arns.parse_noun(text) is None
