"""Recommendation ids: 40 characters, as long as AWS's may be, of which the last ones tell the campaign or recommender.

An id ends in ``-CID-`` and a digest of the ARN, so that an event that names a recommendation is attributed to its
campaign without a record of every answer.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from functools import lru_cache

#: Of a thousand campaigns, two have the same digest of 32 bits with a probability of one in ten thousand.
_DIGEST_CHARACTERS = 8
_RANDOM_CHARACTERS = 40 - len("RID-") - len("-CID-") - _DIGEST_CHARACTERS
#: The end of an id, a regular expression of Python and of SQL.
DIGEST_PATTERN = f"-CID-([0-9a-f]{{{_DIGEST_CHARACTERS}}})$"


def create_recommendation_id(endpoint_arn: str) -> str:
    """Return a new id of a recommendation by a campaign or recommender."""
    return f"RID-{uuid.uuid4().hex[-_RANDOM_CHARACTERS:]}-CID-{digest_endpoint(endpoint_arn)}"


@lru_cache(maxsize=4096)
def digest_endpoint(endpoint_arn: str) -> str:
    """Return the digest by which an id names a campaign or recommender."""
    return hashlib.sha256(endpoint_arn.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def read_endpoint_digest(recommendation_id: str) -> str | None:
    """Return the digest in an id; None where it has none, such as an id from AWS."""
    found = re.search(DIGEST_PATTERN, recommendation_id)
    return found[1] if found else None
