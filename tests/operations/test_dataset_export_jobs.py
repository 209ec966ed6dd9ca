"""CreateDatasetExportJob, DescribeDatasetExportJob, ListDatasetExportJobs. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import ROLE, Life, Maker


def test_it_is_kept_and_declined(personalize: Any, make: Maker, life: Life) -> None:
    request = {
        "jobName": make.name(),
        "datasetArn": life.dataset,
        "ingestionMode": "ALL",
        "roleArn": ROLE,
        "jobOutput": {"s3DataDestination": {"path": "s3://bucket/exported/"}},
    }
    arn = personalize.create_dataset_export_job(**request)["datasetExportJobArn"]
    job = make.settled("dataset_export_job", "datasetExportJob", arn)
    assert {member: job[member] for member in request} == request
    assert job["status"] == "CREATE FAILED"
    assert "does not do its work yet" in job["failureReason"]
    listed = personalize.list_dataset_export_jobs(datasetArn=life.dataset)["datasetExportJobs"]
    assert arn in [one["datasetExportJobArn"] for one in listed]
