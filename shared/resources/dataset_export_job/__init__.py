"""A dataset export job: the records of a dataset, imported in bulk or put one by one, as CSV in a folder."""

from shared.resources.dataset_export_job.requests import build_draft
from shared.resources.resource_type import Resource
from shared.state.lifecycle import JOB
from shared.state.messages import ExportDataset

resource = Resource(name="DatasetExportJob", draft=build_draft, lifecycle=JOB, command=ExportDataset)
