"""A data deletion job: deletes all data of the users named in a file from a dataset group."""

from collections.abc import Mapping
from typing import Any

from shared.resources.data_deletion_job.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import DATA_DELETION
from shared.state.messages import DeleteUsers
from shared.store import Record


def apply_outcome(record: Record, outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body with the number of deleted records."""
    return {**record.body, "numDeleted": outcome.get("numDeleted", 0)}


resource = Resource(
    name="DataDeletionJob",
    draft=build_draft,
    lifecycle=DATA_DELETION,
    command=DeleteUsers,
    quota=Quota(within="dataset_group", pending=True),
    apply_outcome=apply_outcome,
)
