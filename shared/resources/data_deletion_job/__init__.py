"""A data deletion job: everything that a dataset group holds of the users named in a file, taken out of it."""

from shared.lifecycle import ERASURE
from shared.messages import Decline
from shared.resources.contract import Quota, Resource
from shared.resources.data_deletion_job.requests import draft

resource = Resource(
    name="DataDeletionJob",
    draft=draft,
    lifecycle=ERASURE,
    command=Decline,
    quota=Quota(within="dataset_group", pending=True),
)
