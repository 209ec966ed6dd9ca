"""The records of a dataset group, and those among them whose work reads the group's data now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.resources import ResourceReader
from shared.state.lifecycle import CREATE_PENDING
from shared.storage.artifacts import Artifacts
from shared.store import Record, Store

#: Kinds whose work reads imports, live events, put records or models, in processes of its own.
READERS = (
    "solution_version",
    "recommender_version",
    "trial",
    "dataset_export_job",
    "batch_inference_job",
    "batch_segment_job",
)
#: Kinds that have a workspace or an artifact.
KINDS = (*READERS, "dataset", "dataset_import_job", "data_deletion_job")


def list_group_records(kinds: Sequence[str] | None, group: str, reader: ResourceReader) -> Iterator[Record]:
    """Yield the records of these kinds, by default of all that have files, in a dataset group."""
    for kind in kinds or KINDS:
        for record in reader.iter_children(kind):
            if find_group(record, reader) == group:
                yield record


def find_group(record: Record, reader: ResourceReader) -> str | None:
    """Return the ARN of the dataset group; None where a record on the way has just been deleted."""
    body = record.body
    if "datasetGroupArn" in body:
        return str(body["datasetGroupArn"])
    above = body.get("datasetArn") or body.get("solutionVersionArn") or (record.parents[0] if record.parents else None)
    found = reader.records.get(above) if above else None
    if found is None or found.kind == "dataset_group":
        return above if found is not None else None
    return find_group(found, reader)


def list_running_work(group: str, reader: ResourceReader, store: Store, artifacts: Artifacts) -> list[str]:
    """Return the ARNs of the work that may have begun to read the group's data, and has not ended."""
    return [
        record.arn
        for record in list_group_records(READERS, group, reader)
        if record.in_progress and _has_begun(record, store, artifacts)
    ]


def _has_begun(record: Record, store: Store, artifacts: Artifacts) -> bool:
    # The status follows the lease after a moment; a workspace is there as soon as work reads anything.
    return (
        record.in_progress != CREATE_PENDING
        or store.get_lease(record.arn) is not None
        or artifacts.has_workspace(record.arn)
    )
