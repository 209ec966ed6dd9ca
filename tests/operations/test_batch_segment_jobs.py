"""CreateBatchSegmentJob and ListBatchSegmentJobs. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import ROLE, Life, Maker, refused


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
