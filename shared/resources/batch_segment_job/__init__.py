"""A batch segment job: the users that will like an item, for every line of a file, written into a folder."""

from shared.resources.batch_segment_job.requests import build_draft
from shared.resources.resource_type import Quota, Resource
from shared.state.lifecycle import JOB
from shared.state.messages import RunBatchSegment

resource = Resource(
    name="BatchSegmentJob", draft=build_draft, lifecycle=JOB, command=RunBatchSegment, quota=Quota(pending=True)
)
