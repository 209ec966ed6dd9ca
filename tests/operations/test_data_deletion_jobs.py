"""CreateDataDeletionJob, DescribeDataDeletionJob, ListDataDeletionJobs. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.conftest import until
from tests.operations.conftest import ROLE, Maker


def test_it_is_kept_and_declined(personalize: Any, make: Maker) -> None:
    request = {
        "jobName": make.name(),
        "datasetGroupArn": make.group(),
        "roleArn": ROLE,
        "dataSource": {"dataLocation": "s3://bucket/users.csv"},
    }
    arn = personalize.create_data_deletion_job(**request)["dataDeletionJobArn"]

    def ended() -> Any:
        job = personalize.describe_data_deletion_job(dataDeletionJobArn=arn)["dataDeletionJob"]
        return None if job["status"] in ("PENDING", "IN_PROGRESS") else job

    job = until(ended, what=arn)
    assert {member: job[member] for member in request} == request
    assert job["status"] == "FAILED"
    assert "does not do its work yet" in job["failureReason"]
    [listed] = personalize.list_data_deletion_jobs(datasetGroupArn=request["datasetGroupArn"])["dataDeletionJobs"]
    assert listed["dataDeletionJobArn"] == arn
