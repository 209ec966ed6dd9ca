"""The queries of batch inference: which members a line must have, and what its output looks like, by recipe type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.recipes import Recipe
from workers.inference.json_lines import LineError

RANKING = "PERSONALIZED_RANKING"
ACTIONS = "PERSONALIZED_ACTIONS"
#: As in AWS's service model of requests.
_MOST_ID_CHARACTERS = 256
_MOST_VALUE_CHARACTERS = 1000
_MOST_VALUES = 25
_MOST_CONTEXT = 150
#: As in GetPersonalizedRanking.
MOST_RANKED = 500


def check_query(members: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise LineError where a line lacks a member that the recipe needs, or a member has another form."""
    for member in ("userId", "itemId"):
        _check_id(members, member, required=member in recipe.serving.required_members)
    _check_texts(members, "filterValues", _MOST_VALUES)
    _check_texts(members, "context", _MOST_CONTEXT)
    if recipe.recipe_type == RANKING:
        _check_item_list(members)


def _check_id(members: Mapping[str, Any], member: str, *, required: bool) -> None:
    value = members.get(member)
    if value is None or value == "":
        if required:
            raise LineError(f"{member} is required.")
    elif not _is_text(value, _MOST_ID_CHARACTERS):
        raise LineError(f"{member} must be a string of at most {_MOST_ID_CHARACTERS} characters.")


def _is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def _check_texts(members: Mapping[str, Any], member: str, most: int) -> None:
    values = members.get(member)
    if values is None:
        return
    if (
        not isinstance(values, dict)
        or len(values) > most
        or not all(_is_text(value, _MOST_VALUE_CHARACTERS) for value in values.values())
    ):
        raise LineError(
            f"{member} must be an object of at most {most} strings, each of at most {_MOST_VALUE_CHARACTERS} "
            "characters."
        )


def _check_item_list(members: Mapping[str, Any]) -> None:
    given = members.get("itemList")
    if not given:
        raise LineError("itemList is required: the ids of the items to rank.")
    if not isinstance(given, list) or not all(item and _is_text(item, _MOST_ID_CHARACTERS) for item in given):
        raise LineError(f"itemList must be a list of strings, each of 1 to {_MOST_ID_CHARACTERS} characters.")
    if len(given) > MOST_RANKED:
        raise LineError(f"itemList has {len(given)} items; at most {MOST_RANKED} are ranked.")


def build_output(rows: Sequence[Mapping[str, Any]], recipe: Recipe) -> dict[str, Any]:
    """Return the ``output`` of a line. Items that the model does not know have the score null."""
    id_member, listed = (
        ("actionId", "recommendedActions") if recipe.recipe_type == ACTIONS else ("itemId", "recommendedItems")
    )
    output: dict[str, Any] = {listed: [row[id_member] for row in rows]}
    if any("score" in row for row in rows) or (recipe.serving.shows_scores and not rows):
        output["scores"] = [row.get("score") for row in rows]
    return output
