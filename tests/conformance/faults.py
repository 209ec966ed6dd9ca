"""What is wrong with a request that AWS's service model lets pass: ARNs that lead nowhere, tokens and tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.contracts.wire.generated_requests import Fault

ARN = re.compile(r"arn:aws:personalize:([\w-]*):(\d*):([\w-]+)/(.+)")
NOT_FOUND, INVALID = "ResourceNotFoundException", "InvalidInputException"
TAGS = [{"tagKey": f"k{number}", "tagValue": ""} for number in range(51)]
#: The kind of every member that names a resource but is not called after it.
ANY_TYPE = "resourceArn"


def of_arns(request: Mapping[str, Any], lists: bool) -> Iterator[Fault]:
    """Every ARN of the request, led astray. ``lists``: an unknown parent has nothing, and that is the answer."""
    for path, arn in _arns(request):
        region, account, kind, name = ARN.fullmatch(arn).groups()  # type: ignore[union-attr]
        astray = {f"arn:aws:personalize:{region}:{account}:{kind}/{name.partition('/')[0]}-never/00000000"}
        if "/" not in name:
            astray = {f"arn:aws:personalize:{region}:{account}:{kind}/{name}-never"}
        if region:
            astray |= {arn.replace(region, "eu-west-1"), arn.replace(account, "111111111111")}
        for elsewhere in sorted(astray):
            yield Fault(path, elsewhere, "" if lists else NOT_FOUND)
        if path[-1] != ANY_TYPE:
            other = "schema" if kind != "schema" else "solution"
            yield Fault(path, f"arn:aws:personalize:us-east-1:000000000000:{other}/a", INVALID if lists else NOT_FOUND)


def _arns(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _arns(member, (*path, name))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _arns(one, (*path, number))
    elif isinstance(value, str) and ARN.fullmatch(value):
        yield path, value


def of_tags() -> Iterator[Fault]:
    yield Fault(("tags",), TAGS, "TooManyTagsException")
    yield Fault(("tags",), [{"tagKey": "aws:a", "tagValue": ""}], INVALID)
    yield Fault(("tags",), [{"tagKey": "a", "tagValue": str(number)} for number in range(2)], INVALID)


def of_tokens(foreign: str) -> Iterator[Fault]:
    """``foreign`` was given out by another list."""
    for token in ("never", "bmV2ZXI=", foreign[:-4], foreign):
        yield Fault(("nextToken",), token, "InvalidNextTokenException")


#: Particular to one operation.
PARTICULAR: Mapping[str, list[Fault]] = {
    "CreateDataset": [Fault(("datasetType",), "Films", INVALID)],
    "CreateDatasetGroup": [
        Fault(("kmsKeyArn",), "arn:aws:kms:us-east-1:000000000000:key/a", INVALID),
        Fault(("roleArn",), "arn:aws:iam::000000000000:role/a", INVALID),
    ],
    "CreateDatasetImportJob": [Fault(("dataSource", "dataLocation"), "https://a/b", INVALID)],
    "CreateFilter": [Fault(("filterExpression",), "EXCLUDE everything", INVALID)],
    "CreateSchema": [Fault(("schema",), "{}", INVALID)],
    "GetPersonalizedRanking": [Fault(("inputList",), ["i"] * 501, INVALID)],
    "GetRecommendations": [Fault(("numResults",), 501, INVALID)],
    "PutActionInteractions": [Fault(("trackingId",), "never", NOT_FOUND)],
    "PutEvents": [
        Fault(("trackingId",), "never", NOT_FOUND),
        Fault(("eventList", 0, "properties"), "not json", INVALID),
    ],
    "PutItems": [Fault(("items", 0, "properties"), "[]", INVALID)],
}
