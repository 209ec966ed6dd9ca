"""metadataColumns: columns of the Items dataset for the items in an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.runtime.endpoint import Endpoint, RuntimeContext
from shared.aws.errors import InvalidInput
from shared.recipes import Recipe
from shared.serving.dataset_snapshot import Snapshot

ITEMS = "ITEMS"
MOST_COLUMNS = 10
#: In one answer with metadata.
MOST_ITEMS_WITH_METADATA = 50


def is_metadata_enabled(recipe: Recipe, config: Mapping[str, Any]) -> bool:
    """Return whether a campaign or recommender of this configuration answers metadata."""
    return recipe.serving.always_shows_metadata or bool(config.get("enableMetadataWithRecommendations"))


class ItemMetadata:
    """Reads the columns that a request asks for; false where it asks for none."""

    def __init__(self, snapshot: Snapshot | None, columns: Sequence[str]) -> None:
        self._snapshot = snapshot
        self._columns = columns

    def __bool__(self) -> bool:
        return bool(self._columns)

    def read_columns(self, item_id: str) -> dict[str, str]:
        """Return an item's columns by their names in lower case, as AWS answers them, without those that are null."""
        row = self._snapshot.find_row(item_id) if self._snapshot is not None and self._columns else None
        if self._snapshot is None or row is None:
            return {}
        found = ((column.lower(), self._snapshot.format_cell(row, column)) for column in self._columns)
        return {column: text for column, text in found if text is not None}

    def with_metadata(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of an answer, each with its metadata."""
        if not self:
            return rows
        return [{**row, "metadata": about} if (about := self.read_columns(row["itemId"])) else row for row in rows]


def resolve_metadata(context: RuntimeContext, endpoint: Endpoint, request: Mapping[str, Any]) -> ItemMetadata:
    """Check the columns that a request asks for. Raises InvalidInput and ServiceUnavailable."""
    wanted: Mapping[str, list[str]] = request.get("metadataColumns") or {}
    if not any(wanted.values()):
        return ItemMetadata(None, ())
    if not is_metadata_enabled(endpoint.recipe, endpoint.config):
        raise InvalidInput(
            f"{endpoint.record.arn} does not answer metadata: set enableMetadataWithRecommendations to true in its "
            "configuration."
        )
    if unanswered := [dataset_type for dataset_type in wanted if dataset_type.upper() != ITEMS]:
        raise InvalidInput(f"metadataColumns names {', '.join(unanswered)}; only columns of {ITEMS} are answered.")
    asked_for = list(dict.fromkeys(name.upper() for names in wanted.values() for name in names))
    if len(asked_for) > MOST_COLUMNS:
        raise InvalidInput(f"metadataColumns names {len(asked_for)} columns; at most {MOST_COLUMNS} are answered.")
    snapshot = context.filters.get_item_rows(endpoint.model)
    known = {name.upper(): name for name in snapshot.schema.columns} if snapshot is not None else {}
    if unknown := [name for name in asked_for if name not in known]:
        there = ", ".join(known.values()) or "none"
        raise InvalidInput(f"metadataColumns names {', '.join(unknown)}; the columns of {ITEMS} are {there}.")
    return ItemMetadata(snapshot, [known[name] for name in asked_for])
