"""The ``s3://`` locations that requests name. The jobs themselves check the contents."""

from __future__ import annotations

import re

from shared.aws.errors import InvalidInput

#: AWS's texts, which clients match on.
INVALID_DATA = "Invalid Data location"
INVALID_INPUT = "Invalid S3 input path"
INVALID_OUTPUT = "Invalid S3 output path"


def check_location(location: str | None, text: str) -> None:
    """Raise InvalidInput with ``text`` for a location that is missing or no s3:// URL: AWS's model accepts both."""
    if not re.fullmatch(r"s3://[^/]+(/.*)?", location or "", flags=re.DOTALL):
        raise InvalidInput(f"{text}. Give it as s3://bucket/key.")


def check_apart(output: str, input_: str) -> None:
    """Raise InvalidInput where results would be written into the folder of the input."""
    if output.rstrip("/") == input_.rstrip("/"):
        raise InvalidInput(f"{INVALID_OUTPUT}. It is the input path too: give another folder.")
