"""An import of CSV files into a folder of a test, and schemas to import them by."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data import schemas
from shared.data.csv.csv_import import ImportFailed, ImportLimits, ImportResult, import_csv
from shared.data.schemas import DatasetSchema


def schema(name: str, *fields: str) -> DatasetSchema:
    """`fields` as in "AGE int null" or "GENRES string categorical"."""
    declared = []
    for field in fields:
        column, kind, *attributes = field.split()
        nullable = "null" in attributes
        declared.append(
            {"name": column, "type": ["null", kind] if nullable else kind}
            | {attribute: True for attribute in attributes if attribute != "null"}
        )
    return schemas.parse_schema(json.dumps({"type": "record", "name": name, "fields": declared}))


INTERACTIONS = schema(
    "Interactions", "USER_ID string", "ITEM_ID string", "TIMESTAMP long", "EVENT_TYPE string", "EVENT_VALUE float null"
)
HEADER = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE\n"
USERS = schema("Users", "USER_ID string", "NOTE string null")
TYPED = schema(
    "Users", "USER_ID string", "I int null", "L long null", "F float null", "D double null", "B boolean null"
)


def query(sql: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


class Importer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "target" / "rows.parquet"
        self.target.parent.mkdir()
        self.progress: list[int] = []

    def file(self, content: str | bytes, name: str = "data.csv") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def run(
        self,
        *contents: str | bytes | Path,
        schema: DatasetSchema = INTERACTIONS,
        memory_mb: int = 256,
        min_rows: int = 0,
        unreadable_share: float = 0.0,
    ) -> ImportResult:
        files = [
            each if isinstance(each, Path) else self.file(each, f"part-{n}.csv" if len(contents) > 1 else "data.csv")
            for n, each in enumerate(contents)
        ]
        return import_csv(
            files,
            schema,
            self.target,
            ImportLimits(memory_mb, min_rows, unreadable_share),
            self.progress.append,
        )

    def rows(self, *contents: str | bytes | Path, **options: Any) -> list[tuple[Any, ...]]:
        """Import and read back; the temporary files must be gone."""
        imported = self.run(*contents, **options)
        rows = query(f"SELECT * FROM read_parquet('{self.target}')")
        assert imported == ImportResult(rows=len(rows), bytes=self.target.stat().st_size)
        assert os.listdir(self.target.parent) == ["rows.parquet"]
        return rows

    def failure(self, *contents: str | bytes | Path, **options: Any) -> str:
        """The reason of an import that fails; nothing may be left of it."""
        with pytest.raises(ImportFailed) as caught:
            self.run(*contents, **options)
        assert os.listdir(self.target.parent) == []
        assert len(str(caught.value)) <= 1000
        return str(caught.value)
