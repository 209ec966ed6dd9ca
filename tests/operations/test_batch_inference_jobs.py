"""CreateBatchInferenceJob, DescribeBatchInferenceJob, ListBatchInferenceJobs. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.operations.conftest import ROLE, Life, Maker, refused

PLACES = {
    "jobInput": {"s3DataSource": {"path": "s3://bucket/users.json"}},
    "jobOutput": {"s3DataDestination": {"path": "s3://bucket/recommended/"}},
}


def test_it_is_kept_and_declined(personalize: Any, make: Maker, life: Life) -> None:
    request = {"jobName": make.name(), "solutionVersionArn": life.version, "roleArn": ROLE, **PLACES}
    arn = personalize.create_batch_inference_job(**request)["batchInferenceJobArn"]
    job = make.settled("batch_inference_job", "batchInferenceJob", arn)
    assert {member: job[member] for member in request} == request
    assert job["status"] == "CREATE FAILED"
    assert "does not do its work yet" in job["failureReason"]
    listed = personalize.list_batch_inference_jobs(solutionVersionArn=life.version)["batchInferenceJobs"]
    assert [one["failureReason"] for one in listed if one["batchInferenceJobArn"] == arn] == [job["failureReason"]]


def test_a_version_that_does_not_exist_is_refused(personalize: Any, make: Maker, life: Life) -> None:
    with refused("ResourceNotFoundException", life.solution):
        personalize.create_batch_inference_job(
            jobName=make.name(), solutionVersionArn=life.solution, roleArn=ROLE, **PLACES
        )
