"""A batch inference job: recommendations for every line of a file, by a solution version, written into a folder."""

from shared.resources.batch_inference_job.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import JOB
from shared.state.messages import RunBatchInference

resource = Resource(
    name="BatchInferenceJob", draft=build_draft, lifecycle=JOB, command=RunBatchInference, quota=Quota(pending=True)
)
