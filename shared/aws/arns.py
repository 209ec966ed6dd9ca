"""Build and take apart ARNs: ``arn:<partition>:personalize:<region>:<account>:<type>/<name>``."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True)
class Arn:
    """An ARN in parts. ``kind`` is AWS's word for the type ("dataset-import-job"), ``name`` all behind the slash."""

    kind: str
    name: str
    region: str
    account: str
    partition: str = "aws"

    def __str__(self) -> str:
        return f"arn:{self.partition}:personalize:{self.region}:{self.account}:{self.kind}/{self.name}"


def parse_arn(text: str) -> Arn | None:
    """The parts of a Personalize ARN, or None when it is none."""
    match text.split(":", 5):
        case ["arn", partition, "personalize", region, account, resource] if "/" in resource:
            kind, _, name = resource.partition("/")
            return Arn(kind, name, region, account, partition)
    return None


def parse_noun(text: str) -> str | None:
    """The type that an ARN says its resource is of: "dataset_group"; None when it is no Personalize ARN."""
    arn = parse_arn(text)
    if arn is None:
        return None
    # Versions go by the type of what they are versions of, with an id behind its name.
    versioned = arn.kind in ("solution", "recommender") and "/" in arn.name
    return f"{arn.kind}_version" if versioned else arn.kind.replace("-", "_")


def create_id() -> str:
    """Eight lower-case hex digits, as AWS ends the ARNs of solution versions and event trackers."""
    return secrets.token_hex(4)
