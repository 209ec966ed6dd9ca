from __future__ import annotations

from typing import Any

from tests.operations.conftest import Maker, refused


def test_pages_meet_everything_once_newest_first(personalize: Any, make: Maker) -> None:
    made = [make.group() for _ in range(3)]
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = personalize.list_dataset_groups(maxResults=2, **token)
        assert len(page["datasetGroups"]) <= 2
        seen += [group["datasetGroupArn"] for group in page["datasetGroups"]]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert len(seen) == len(set(seen))
    assert [arn for arn in seen if arn in made] == made[::-1]


def test_a_made_up_token_is_refused(personalize: Any) -> None:
    for token in ("x", "eyJhIjoxfQ==", "%%%"):
        with refused("InvalidNextTokenException"):
            personalize.list_dataset_groups(nextToken=token)


def test_another_lists_token_is_refused(personalize: Any, make: Maker) -> None:
    make.group(), make.group()
    token = personalize.list_dataset_groups(maxResults=1)["nextToken"]
    with refused("InvalidNextTokenException", "another list"):
        personalize.list_schemas(nextToken=token)


def test_too_large_a_page_is_refused(personalize: Any) -> None:
    with refused("ValidationException", "less than or equal to 100"):
        personalize.list_dataset_groups(maxResults=101)
