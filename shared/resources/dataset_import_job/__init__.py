"""A dataset import job: CSV from S3 into a dataset, in place of its bulk data (FULL) or added to it (INCREMENTAL)."""

from collections.abc import Iterable, Iterator

from shared.aws.errors import ResourceInUse
from shared.resources.dataset_import_job.requests import FULL, build_draft
from shared.resources.resource_type import Quota, Resource, ResourceReader, is_terminal
from shared.state.lifecycle import ACTIVE, JOB
from shared.state.messages import ImportDataset
from shared.store import Record

__all__ = ["FULL", "ROWS", "iter_current_jobs", "list_current_jobs", "refuse_while_importing", "resource"]

resource = Resource(
    name="DatasetImportJob", draft=build_draft, lifecycle=JOB, command=ImportDataset, quota=Quota(pending=True)
)


#: The one file of a finished job's artifact.
ROWS = "rows.parquet"


def refuse_while_importing(dataset_arn: str, reader: ResourceReader) -> None:
    """Raise ResourceInUse while an import into the dataset waits or is in progress."""
    for job in reader.iter_children("dataset_import_job", dataset_arn):
        if not is_terminal(job):
            raise ResourceInUse(f"The import {job.arn} is in status {job.status}; wait until it has ended.")


def iter_current_jobs(dataset_arn: str, reader: ResourceReader) -> Iterator[Record]:
    """Yield the jobs whose rows are the dataset's bulk data now, newest first: the last FULL one and those added since.

    The jobs are ordered by when they ended, not by when they were created.
    """
    ended = [job for job in reader.iter_children("dataset_import_job", dataset_arn) if job.status == ACTIVE]
    for job in sorted(ended, key=lambda job: job.updated, reverse=True):
        yield job
        if job.body["importMode"] == FULL:
            return


def list_current_jobs(datasets: Iterable[Record], reader: ResourceReader) -> dict[str, list[str]]:
    """Return dataset type -> the ARNs of its current jobs, newest first: the data of a training that begins now."""
    return {each.body["datasetType"]: [job.arn for job in iter_current_jobs(each.arn, reader)] for each in datasets}
