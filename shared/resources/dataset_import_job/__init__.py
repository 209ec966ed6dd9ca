"""A dataset import job: CSV from S3 into a dataset, whole (FULL) or added to what is there (INCREMENTAL)."""

from collections.abc import Iterable, Iterator

from shared.aws.errors import ResourceInUse
from shared.resources.dataset_import_job.requests import FULL, build_draft
from shared.resources.resource_type import Quota, Resource, ResourceReader, is_terminal
from shared.state.lifecycle import ACTIVE, JOB
from shared.state.messages import ImportDataset
from shared.store import Record

resource = Resource(
    name="DatasetImportJob", draft=build_draft, lifecycle=JOB, command=ImportDataset, quota=Quota(pending=True)
)


#: The one file of a finished job's artifact.
ROWS = "rows.parquet"


def refuse_while_importing(dataset_arn: str, reading: ResourceReader) -> None:
    """Raises ResourceInUse while an import into the dataset waits or is under way."""
    for job in reading.iter_children("dataset_import_job", dataset_arn):
        if not is_terminal(job):
            raise ResourceInUse(f"The import {job.arn} is in status {job.status}; wait until it has ended.")


def iter_current_jobs(dataset_arn: str, reading: ResourceReader) -> Iterator[Record]:
    """The jobs whose rows are the dataset's bulk data now: the last FULL one and what was added since, newest first.

    A job counts from when it ended, not from when it was asked for.
    """
    ended = [job for job in reading.iter_children("dataset_import_job", dataset_arn) if job.status == ACTIVE]
    for job in sorted(ended, key=lambda job: job.updated, reverse=True):
        yield job
        if job.body["importMode"] == FULL:
            return


def list_current_jobs(datasets: Iterable[Record], reading: ResourceReader) -> dict[str, list[str]]:
    """Dataset type -> the ARNs of its current jobs, newest first: what a training that begins now is given."""
    return {each.body["datasetType"]: [job.arn for job in iter_current_jobs(each.arn, reading)] for each in datasets}
