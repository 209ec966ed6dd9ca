"""CreateDatasetImportJob, CreateDatasetExportJob and CreateDataDeletionJob: what is checked, kept and answered."""

from __future__ import annotations

import pytest

from shared.aws.errors import InvalidInput, ResourceAlreadyExists, ResourceInUse, ResourceNotFound
from shared.state.lifecycle import CREATE_PENDING, PENDING
from tests.unit.services.api.memory_api import GROUP, PREFIX, ROLE, MemoryApi


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def export(api: MemoryApi, dataset: str, path: str = "s3://bucket/out/", **more: str) -> str:
    output = {"s3DataDestination": {"path": path}}
    request = {"jobName": "j", "datasetArn": dataset, "roleArn": ROLE, "jobOutput": output, **more}
    return str(api("CreateDatasetExportJob", **request)["datasetExportJobArn"])


def deletion(api: MemoryApi, name: str = "j", group: str = GROUP, **source: str) -> str:
    request = {"jobName": name, "datasetGroupArn": group, "roleArn": ROLE, "dataSource": source}
    return str(api("CreateDataDeletionJob", **request)["dataDeletionJobArn"])


def test_an_export_echoes_what_it_was_given_with_the_default(api: MemoryApi) -> None:
    dataset = api.dataset()
    arn = export(api, dataset)
    assert arn == f"{PREFIX}:dataset-export-job/j"
    job = api("DescribeDatasetExportJob", datasetExportJobArn=arn)["datasetExportJob"]
    assert (job["jobName"], job["datasetArn"], job["roleArn"]) == ("j", dataset, ROLE)
    assert job["jobOutput"] == {"s3DataDestination": {"path": "s3://bucket/out/"}}
    assert (job["ingestionMode"], job["status"]) == ("PUT", CREATE_PENDING)
    all_of_it = export(api, dataset, jobName="k", ingestionMode="ALL")
    listed = api("ListDatasetExportJobs", datasetArn=dataset)["datasetExportJobs"]
    assert [one["datasetExportJobArn"] for one in listed] == [all_of_it, arn]


def test_what_an_export_is_refused_for(api: MemoryApi) -> None:
    with pytest.raises(ResourceNotFound, match="dataset does not exist"):
        export(api, f"{PREFIX}:dataset/g/INTERACTIONS")
    dataset = api.dataset()
    with pytest.raises(InvalidInput, match=r"Invalid S3 output path.*s3://"):
        export(api, dataset, "https://bucket/out/")
    export(api, dataset)
    with pytest.raises(ResourceAlreadyExists):
        export(api, dataset)
    waiting = api.put(f"{PREFIX}:dataset/h/ITEMS", "dataset", {}, CREATE_PENDING)
    with pytest.raises(ResourceInUse, match=CREATE_PENDING):
        export(api, waiting, jobName="k")


def test_a_deletion_has_statuses_of_its_own(api: MemoryApi) -> None:
    arn = deletion(api, dataLocation="s3://bucket/users/")
    assert arn == f"{PREFIX}:data-deletion-job/j"
    job = api("DescribeDataDeletionJob", dataDeletionJobArn=arn)["dataDeletionJob"]
    assert (job["jobName"], job["datasetGroupArn"], job["roleArn"]) == ("j", GROUP, ROLE)
    assert (job["dataSource"], job["status"]) == ({"dataLocation": "s3://bucket/users/"}, PENDING)
    assert "numDeleted" not in job
    newer = deletion(api, "k", dataLocation="s3://bucket/users/")
    listed = api("ListDataDeletionJobs", datasetGroupArn=GROUP)["dataDeletionJobs"]
    assert [one["dataDeletionJobArn"] for one in listed] == [newer, arn]


@pytest.mark.parametrize("source", [{}, {"dataLocation": "http://bucket/users.csv"}, {"dataLocation": "s3:///key"}])
def test_an_import_and_a_deletion_need_a_location_of_s3(api: MemoryApi, source: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=r"Invalid Data location.*s3://"):
        deletion(api, **source)
    with pytest.raises(InvalidInput, match=r"Invalid Data location.*s3://"):
        api("CreateDatasetImportJob", jobName="j", datasetArn=api.dataset(), dataSource=source)


def test_a_group_is_not_deleted_under_a_deletion(api: MemoryApi) -> None:
    arn = deletion(api, dataLocation="s3://bucket/users/")
    with pytest.raises(ResourceInUse, match=arn):
        api("DeleteDatasetGroup", datasetGroupArn=GROUP)
    api.end(arn)
    api("DeleteDatasetGroup", datasetGroupArn=GROUP)
