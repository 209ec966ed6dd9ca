"""A batch inference job: recommendations for every line of a file, from a solution version, into a folder."""

from shared.lifecycle import JOB
from shared.messages import Decline
from shared.resources.batch_inference_job.requests import draft
from shared.resources.contract import Quota, Resource

resource = Resource(name="BatchInferenceJob", draft=draft, lifecycle=JOB, command=Decline, quota=Quota(pending=True))
