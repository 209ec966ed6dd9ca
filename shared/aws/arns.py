"""Build and parse ARNs: ``arn:<partition>:personalize:<region>:<account>:<type>/<name>``."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Arn:
    """An ARN in parts. ``kind`` is the type, as AWS spells it ("dataset-import-job"); ``name`` follows the slash."""

    kind: str
    name: str
    region: str
    account: str
    partition: str = "aws"

    def __str__(self) -> str:
        return f"arn:{self.partition}:personalize:{self.region}:{self.account}:{self.kind}/{self.name}"


def parse_arn(text: str) -> Arn | None:
    """Parse a Personalize ARN; None for any other text."""
    match text.split(":", 5):
        case ["arn", partition, "personalize", region, account, resource] if "/" in resource:
            kind, _, name = resource.partition("/")
            return Arn(kind, name, region, account, partition)
    return None


def parse_noun(text: str) -> str | None:
    """Return the resource type in an ARN as a noun ("dataset_group"); None if it is not a Personalize ARN."""
    arn = parse_arn(text)
    if arn is None:
        return None
    # The ARN of a version has the type of the versioned resource, and an id after its name.
    versioned = arn.kind in ("solution", "recommender") and "/" in arn.name
    return f"{arn.kind}_version" if versioned else arn.kind.replace("-", "_")


def create_id() -> str:
    """Create eight random lower-case hex digits, as in AWS's ARNs of solution versions and event trackers."""
    return secrets.token_hex(4)
