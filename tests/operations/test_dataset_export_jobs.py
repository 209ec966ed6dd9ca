"""CreateDatasetExportJob, DescribeDatasetExportJob, ListDatasetExportJobs. What is checked: unit/services/api."""

from __future__ import annotations

from typing import Any

from tests.conftest import System
from tests.operations.conftest import ROLE, SMALL, Life, Maker, recommended


def exported(make: Maker, dataset: str, location: str, mode: str = "ALL") -> dict[str, Any]:
    arn = make.client.create_dataset_export_job(
        jobName=make.name(),
        datasetArn=dataset,
        ingestionMode=mode,
        roleArn=ROLE,
        jobOutput={"s3DataDestination": {"path": location}},
    )["datasetExportJobArn"]
    return make.settled("dataset_export_job", "datasetExportJob", arn)


def test_it_works_and_echoes_what_it_was_given(personalize: Any, make: Maker, life: Life) -> None:
    bucket = make.bucket()
    job = exported(make, life.dataset, f"s3://{bucket}/exported/", "BULK")
    assert job["status"] == "ACTIVE", job
    assert (job["datasetArn"], job["ingestionMode"], job["roleArn"]) == (life.dataset, "BULK", ROLE)
    assert job["jobOutput"] == {"s3DataDestination": {"path": f"s3://{bucket}/exported/"}}
    [file] = (make.folder / "s3" / bucket / "exported").iterdir()
    assert file.name.startswith(f"{job['jobName']}-")
    lines = file.read_text().splitlines()
    assert (lines[0], len(lines)) == ("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE_KIND", 1201)
    listed = personalize.list_dataset_export_jobs(datasetArn=life.dataset)["datasetExportJobs"]
    assert job["datasetExportJobArn"] in [one["datasetExportJobArn"] for one in listed]


def test_exported_data_train_the_same_model(system: System, make: Maker) -> None:
    group, bucket = make.group(), make.bucket()
    dataset = make.dataset(group)
    assert make.imported(dataset, make.csv())["status"] == "ACTIVE"
    _, tracking_id = make.tracker(group)
    sent = [{"eventType": "watch", "itemId": f"i{n}", "sentAt": 1_700_000_000 + n} for n in range(3)]
    system.events.put_events(trackingId=tracking_id, userId="u1", sessionId="s", eventList=sent)
    assert exported(make, dataset, f"s3://{bucket}/out")["status"] == "ACTIVE"
    again = make.group()
    job = make.imported(make.dataset(again), f"s3://{bucket}/out/")
    assert job["status"] == "ACTIVE", job
    answers = []
    for source in (group, again):
        campaign = make.deployed(make.solution(source, solutionConfig=SMALL))
        answers.append([recommended(system, campaign, user) for user in ("u1", "u2", "stranger")])
    assert answers[0] == answers[1]


def test_a_bucket_that_does_not_exist_is_told(make: Maker, life: Life) -> None:
    job = exported(make, life.dataset, "s3://no-such-bucket/out")
    assert job["status"] == "CREATE FAILED"
    assert "There is no bucket no-such-bucket" in job["failureReason"]


def test_a_dataset_is_deleted_with_its_exports(personalize: Any, make: Maker) -> None:
    dataset, bucket = make.dataset(), make.bucket()
    job = exported(make, dataset, f"s3://{bucket}/out", "PUT")
    assert job["status"] == "ACTIVE", job
    personalize.delete_dataset(datasetArn=dataset)
    make.gone("dataset_export_job", "datasetExportJob", job["datasetExportJobArn"])
