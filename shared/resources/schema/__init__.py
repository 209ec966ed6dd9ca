"""A schema: the Avro text by which a dataset's CSV is read. Immutable, usable at once, without a status."""

from shared.resources.resource_type import Quota, Resource
from shared.resources.schema.requests import build_draft

resource = Resource(name="Schema", draft=build_draft, lifecycle=None, blocked_by=("dataset",), quota=Quota())
