"""metadataColumns: what the Items dataset has of the items in an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.runtime.endpoint import Endpoint, RuntimeContext
from shared.aws.errors import InvalidInput
from shared.recipes import Recipe
from shared.serving.dataset_snapshot import Snapshot

ITEMS = "ITEMS"
MOST_COLUMNS = 10
#: In one answer that tells metadata.
MOST_ITEMS = 50


def is_metadata_enabled(recipe: Recipe, config: Mapping[str, Any]) -> bool:
    """Does a campaign or recommender of this configuration tell metadata?"""
    return recipe.serving.always_shows_metadata or bool(config.get("enableMetadataWithRecommendations"))


class ItemMetadata:
    """The columns that a request asks for; of no column at all where it asks for none."""

    def __init__(self, snapshot: Snapshot | None, columns: Sequence[str]) -> None:
        self._snapshot = snapshot
        self._columns = columns

    def __bool__(self) -> bool:
        return bool(self._columns)

    def read_columns(self, item_id: str) -> dict[str, str]:
        """By the columns' names in lower case, as AWS answers them; what is null is left out."""
        row = self._snapshot.find_row(item_id) if self._snapshot is not None and self._columns else None
        if self._snapshot is None or row is None:
            return {}
        found = ((column.lower(), self._snapshot.format_cell(row, column)) for column in self._columns)
        return {column: text for column, text in found if text is not None}

    def with_metadata(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of an answer, each with its metadata."""
        if not self:
            return rows
        return [{**row, "metadata": about} if (about := self.read_columns(row["itemId"])) else row for row in rows]


def resolve_metadata(serving: RuntimeContext, asked: Endpoint, request: Mapping[str, Any]) -> ItemMetadata:
    """Raises InvalidInput and ServiceUnavailable."""
    wanted: Mapping[str, list[str]] = request.get("metadataColumns") or {}
    if not any(wanted.values()):
        return ItemMetadata(None, ())
    if not is_metadata_enabled(asked.recipe, asked.config):
        raise InvalidInput(
            f"{asked.record.arn} does not answer metadata: set enableMetadataWithRecommendations to true in its "
            "configuration."
        )
    if others := [dataset_type for dataset_type in wanted if dataset_type.upper() != ITEMS]:
        raise InvalidInput(f"metadataColumns names {', '.join(others)}; only columns of {ITEMS} are answered.")
    asked_for = list(dict.fromkeys(name.upper() for names in wanted.values() for name in names))
    if len(asked_for) > MOST_COLUMNS:
        raise InvalidInput(f"metadataColumns names {len(asked_for)} columns; at most {MOST_COLUMNS} are answered.")
    snapshot = serving.filters.get_item_rows(asked.model)
    known = {name.upper(): name for name in snapshot.schema.columns} if snapshot is not None else {}
    if unknown := [name for name in asked_for if name not in known]:
        there = ", ".join(known.values()) or "none"
        raise InvalidInput(f"metadataColumns names {', '.join(unknown)}; the columns of {ITEMS} are {there}.")
    return ItemMetadata(snapshot, [known[name] for name in asked_for])
