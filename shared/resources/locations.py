"""The ``s3://`` locations that requests name. What lies there is found out by the work itself."""

from __future__ import annotations

import re

from shared.aws.errors import InvalidInput

#: AWS's texts, which clients match on.
INVALID_DATA = "Invalid Data location"
INVALID_INPUT = "Invalid S3 input path"
INVALID_OUTPUT = "Invalid S3 output path"


def check_location(location: str | None, text: str) -> None:
    """AWS's model lets http:// pass, and DataSource.dataLocation be left out. Raises InvalidInput with that text."""
    if not re.fullmatch(r"s3://[^/]+(/.*)?", location or "", flags=re.DOTALL):
        raise InvalidInput(f"{text}. Give it as s3://bucket/key.")


def check_apart(output: str, input_: str) -> None:
    """Results must not be written where the input is read. Raises InvalidInput."""
    if output.rstrip("/") == input_.rstrip("/"):
        raise InvalidInput(f"{INVALID_OUTPUT}. It is the input path too: give another folder.")
