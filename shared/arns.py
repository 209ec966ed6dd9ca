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


def parse(text: str) -> Arn | None:
    """The parts of a Personalize ARN, or None when it is none."""
    match text.split(":", 5):
        case ["arn", partition, "personalize", region, account, resource] if "/" in resource:
            kind, _, name = resource.partition("/")
            return Arn(kind, name, region, account, partition)
    return None


def fresh_id() -> str:
    """Eight lower-case hex digits, as AWS ends the ARNs of solution versions and event trackers."""
    return secrets.token_hex(4)
