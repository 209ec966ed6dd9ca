"""Reads the CSV files of a folder as Personalize datasets: their types, lengths and schemas.

The files are checked by the importer's own reader and rules, so that no step begins with a file that an import would
refuse. A column's type follows from its values, so that a folder of CSV files needs no further description; a column
that no schema can hold is named with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from services.cli.data import columns, csv_source
from services.cli.errors import UnusableFolder
from shared import settings
from shared.data import schemas
from shared.data.csv.csv_file import CsvFile
from shared.data.csv.csv_import import ImportFailed, check_csv, check_header
from shared.data.schemas import DatasetSchema

#: File name -> dataset type, as the name of its schema.
FILES = {
    "interactions.csv": "Interactions",
    "items.csv": "Items",
    "users.csv": "Users",
}

#: Receives a sentence for each column that is not imported, with the reason.
Say = Callable[[str], None]


def _ignore_notice(_sentence: str) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class Table:
    """One CSV file: ``schema`` is the Avro JSON of CreateSchema, ``rows`` counts its records below the header."""

    path: Path
    dataset_type: str
    rows: int
    schema: str


def read_tables(
    folder: Path, say: Say = _ignore_notice, standing: Mapping[str, DatasetSchema] | None = None
) -> list[Table]:
    """The folder's tables, which an import would take; interactions first.

    ``standing``: dataset type, in capitals -> the schema of a dataset that is there already, which then is the table's.
    Raises UnusableFolder.
    """
    if not (folder / "interactions.csv").is_file():
        raise UnusableFolder(f"{folder} has no interactions.csv (USER_ID,ITEM_ID,TIMESTAMP[,EVENT_TYPE,...])")
    tables = (
        _read_table(folder / name, kind, say, (standing or {}).get(schemas.DATASET_TYPES[kind]))
        for name, kind in FILES.items()
        if (folder / name).is_file()
    )
    return [table for table in tables if table is not None]


def _read_table(path: Path, dataset_type: str, say: Say, standing: DatasetSchema | None) -> Table | None:
    """None when it says of its items or users nothing but that they exist: Personalize takes no such dataset."""
    with csv_source.open_csv(path) as (file, workspace):
        _check_required(path, file, dataset_type)
        try:
            chosen = columns.choose_columns(file, dataset_type)
        except duckdb.Error as error:
            # It is no table. The importer names the place, whether AWS knows the column or not.
            _check_import(file, _list_known_columns(file, dataset_type), workspace)
            raise UnusableFolder(f"{path} can't be read as CSV") from error
        left_out = dict(chosen.left_out)
        text = _build_schema(dataset_type, chosen)
        if standing is not None:
            left_out = _find_left_out_columns(standing, file, chosen)
        elif dataset_type != "Interactions" and not chosen.own:
            _report_left_out(path, left_out, say)
            say(f"{path.name} is not imported: no column says more of {dataset_type.lower()} than that they exist")
            return None
        _check_import(file, standing or schemas.parse_schema(text), workspace)
        _report_left_out(path, left_out, say)
        return Table(path=path, dataset_type=dataset_type, rows=file.rows, schema=text)


def _find_left_out_columns(standing: DatasetSchema, file: CsvFile, chosen: columns.Chosen) -> dict[str, str]:
    """The columns of the file that the dataset has not, with the reasons."""
    known = {field.name.upper() for field in standing.fields}
    unusable = {column: why for column, why in chosen.left_out.items() if not schemas.FIELD_NAME.fullmatch(column)}
    named = (column for column in file.header if schemas.FIELD_NAME.fullmatch(column))
    return {**unusable, **{each: "the dataset was made without it" for each in named if each.upper() not in known}}


def _check_required(path: Path, file: CsvFile, dataset_type: str) -> None:
    names = {column.upper() for column in file.header}
    required = schemas.get_required_columns(schemas.DATASET_TYPES[dataset_type])
    missing = [name for name in ("USER_ID", "ITEM_ID", "TIMESTAMP") if name in required and name not in names]
    if missing:
        hint = ""
        if len(file.header) == 1 and re.search(r"[;\t|]", file.header[0]):
            hint = ". Its columns are not separated by commas; save it with commas"
        raise UnusableFolder(f"{path} has no column {', '.join(missing)}; it has {', '.join(file.header)}{hint}")
    with _reword_import_errors():
        check_header(file, _list_known_columns(file, dataset_type))


def _list_known_columns(file: CsvFile, dataset_type: str) -> DatasetSchema:
    """The columns of the file that AWS knows."""
    required, reserved = schemas.get_declared_columns(schemas.DATASET_TYPES[dataset_type])
    names = {column.upper() for column in file.header}
    known = (field for field in (*required.values(), *reserved.values()) if field.name in names)
    return DatasetSchema(name=dataset_type, fields=tuple(known))


@contextmanager
def _reword_import_errors() -> Iterator[None]:
    """Raise an import's error as this command's error."""
    try:
        yield
    except ImportFailed as error:
        raise UnusableFolder(str(error)) from error


def _build_schema(dataset_type: str, chosen: columns.Chosen) -> str:
    schema = {
        "type": "record",
        "name": dataset_type,
        "namespace": "com.amazonaws.personalize.schema",
        "fields": chosen.fields,
        "version": "1.0",
    }
    return json.dumps(schema)


def _check_import(file: CsvFile, schema: DatasetSchema, workspace: Path) -> None:
    configured = settings.load()
    with _reword_import_errors():
        check_csv(
            file,
            schema,
            workspace,
            memory_mb=configured.import_memory_mb,
            unreadable_share=configured.import_unreadable_share,
        )


def _report_left_out(path: Path, left_out: Mapping[str, str], say: Say) -> None:
    for column, reason in left_out.items():
        say(f"{path.name}: the column {column} is not imported: {reason}")
