"""CreateDatasetImportJob, DescribeDatasetImportJob, ListDatasetImportJobs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.operations.conftest import ROLE, Maker, refused


def test_it_works_and_echoes_what_it_was_given(personalize: Any, make: Maker) -> None:
    dataset, location, name = make.dataset(), make.csv(), make.name()
    arn = personalize.create_dataset_import_job(
        jobName=name, datasetArn=dataset, dataSource={"dataLocation": location}, roleArn=ROLE
    )["datasetImportJobArn"]
    job = make.settled("dataset_import_job", "datasetImportJob", arn)
    assert job["status"] == "ACTIVE", job
    assert job["jobName"] == name
    assert job["dataSource"] == {"dataLocation": location}
    assert (job["datasetArn"], job["roleArn"], job["importMode"]) == (dataset, ROLE, "FULL")
    [listed] = personalize.list_dataset_import_jobs(datasetArn=dataset)["datasetImportJobs"]
    assert (listed["datasetImportJobArn"], listed["jobName"], listed["status"]) == (arn, name, "ACTIVE")


def test_a_folder_is_read(make: Maker) -> None:
    location = make.csv()
    job = make.imported(make.dataset(), location.rpartition("/")[0] + "/")
    assert job["status"] == "ACTIVE", job


def test_cells_that_were_not_taken_and_files_that_were_skipped_are_told_in_a_header(
    personalize: Any, make: Maker
) -> None:
    schema = make.schema(
        {
            "type": "record",
            "name": "Items",
            "fields": [{"name": "ITEM_ID", "type": "string"}, {"name": "YEAR", "type": "int"}],
        }
    )
    dataset = make.dataset(schema=schema, dataset_type="Items")
    years = {3: "", 5: "2006\u20132007"}
    location = make.file("ITEM_ID,YEAR", [(f"i{n}", years.get(n, 1990 + n % 30)) for n in range(90)])
    bucket = location.split("/")[2]
    (make.folder / "s3" / bucket / "README.md").write_text("what this folder holds")
    job = make.imported(dataset, f"s3://{bucket}/")
    assert job["status"] == "ACTIVE", job
    answer = personalize.describe_dataset_import_job(datasetImportJobArn=job["datasetImportJobArn"])
    assert json.loads(answer["ResponseMetadata"]["HTTPHeaders"]["x-foretaste-remarks"]) == {
        "nulls": {"YEAR": 2},
        "first": [
            "rows.csv line 5, column YEAR: the cell is empty, but the schema does not allow null.",
            'rows.csv line 7, column YEAR: "2006\u20132007" is not a whole number.',
        ],
        "skipped": ["README.md"],
    }
    plain = make.imported(make.dataset(), make.csv())["datasetImportJobArn"]
    headers = personalize.describe_dataset_import_job(datasetImportJobArn=plain)["ResponseMetadata"]["HTTPHeaders"]
    assert "x-foretaste-remarks" not in headers


def test_incremental_needs_a_full_one_first(personalize: Any, make: Maker) -> None:
    dataset = make.dataset()
    with refused("InvalidInputException", "only specify FULL"):
        make.started_import(dataset, make.csv(), importMode="INCREMENTAL")
    make.imported(dataset, make.csv())
    assert make.imported(dataset, make.csv(), importMode="INCREMENTAL")["status"] == "ACTIVE"


def test_a_used_name_is_refused(personalize: Any, make: Maker) -> None:
    dataset, location = make.dataset(), make.csv()
    arn = make.started_import(dataset, location)
    with refused("ResourceAlreadyExistsException", arn):
        personalize.create_dataset_import_job(
            jobName=arn.rpartition("/")[2], datasetArn=dataset, dataSource={"dataLocation": location}, roleArn=ROLE
        )
    make.settled("dataset_import_job", "datasetImportJob", arn)


def test_another_kind_of_location_is_refused(make: Maker) -> None:
    with refused("InvalidInputException", "Invalid Data location.*s3://"):
        make.started_import(make.dataset(), "https://example.org/interactions.csv")


GOOD = "u1,i1,1600000000,watch,tv\n"
HEADER = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,DEVICE_KIND\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "USER_ID,ITEM_ID,DEVICE_KIND\nu,i,x\n",
            r"is missing the following columns:\[TIMESTAMP, EVENT_TYPE\]",
        ),
        (HEADER + GOOD * 3 + "u1,i1,soon,watch,tv\n", r"data\.csv.*line 5.*TIMESTAMP.*soon"),
        (HEADER + GOOD * 2 + ",i1,1600000000,watch,tv\n", r"data\.csv.*line 4.*USER_ID"),
        (HEADER + "u1,i1,1600000000000,watch,tv\n", r"line 2.*TIMESTAMP.*milliseconds"),
        (HEADER + "u1,i1,1600000000,watch," + "x" * 1_000_000 + "\n", r"DEVICE_KIND"),
        (HEADER + "u\0,i1,1600000000,watch,tv\n", r"data\.csv"),
        (HEADER, "data.csv|rows|1000"),
        ("", "data.csv"),
        (HEADER + GOOD, "1000"),
    ],
    ids=["columns", "type", "null", "milliseconds", "million", "NUL", "no-rows", "empty", "few"],
)
def test_a_bad_file_fails_the_job_with_its_place(make: Maker, shared_dataset: str, text: str, reason: str) -> None:
    bucket = make.bucket()
    (make.folder / "s3" / bucket / "data.csv").write_text(text)
    job = make.imported(shared_dataset, f"s3://{bucket}/data.csv")
    assert job["status"] == "CREATE FAILED"
    assert len(job["failureReason"]) <= 1000
    assert re.search(reason, job["failureReason"], re.DOTALL), job["failureReason"]


@pytest.fixture(scope="module")
def shared_dataset(make: Maker) -> str:
    return make.dataset()


@pytest.mark.parametrize("key", ["missing.csv", "../../client.env", "folder", "a/../../../client.env", "empty/"])
def test_a_location_without_data_fails_the_job(make: Maker, shared_dataset: str, key: str) -> None:
    bucket = make.bucket()
    (make.folder / "s3" / bucket / "folder").mkdir()
    (make.folder / "s3" / bucket / "empty").mkdir()
    job = make.imported(shared_dataset, f"s3://{bucket}/{key}")
    assert job["status"] == "CREATE FAILED"
    assert "Invalid Data location" in job["failureReason"]
    assert "AWS_SECRET" not in job["failureReason"]


def test_a_link_out_of_the_bucket_is_not_followed(make: Maker, shared_dataset: str, tmp_path: Path) -> None:
    bucket = make.bucket()
    outside = tmp_path / "outside.csv"
    outside.write_text(HEADER + GOOD)
    os.symlink(outside, make.folder / "s3" / bucket / "data.csv")
    job = make.imported(shared_dataset, f"s3://{bucket}/data.csv")
    assert job["status"] == "CREATE FAILED"
    assert "Invalid Data location" in job["failureReason"]


def test_an_unknown_dataset_is_not_found(make: Maker) -> None:
    with refused("ResourceNotFoundException", "The given dataset does not exist"):
        make.started_import("arn:aws:personalize:us-east-1:000000000000:dataset/x/INTERACTIONS", "s3://b/k")
