"""A data deletion job: deletes all data of the users named in a file from a dataset group."""

from shared.resources.data_deletion_job.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DATA_DELETION
from shared.state.messages import Decline

resource = Resource(
    name="DataDeletionJob",
    draft=build_draft,
    lifecycle=DATA_DELETION,
    command=Decline,
    quota=Quota(within="dataset_group", pending=True),
)
