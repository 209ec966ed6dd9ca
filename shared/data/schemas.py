"""Parse and check the Avro schemas of datasets, for CreateSchema, CreateDataset, events and imports.

Amazon Personalize takes only flat records of primitive types, and adds rules about names that Avro does not have, so
this is no general Avro library. Source: "Schema formatting requirements" and "Datasets and schemas" in AWS's
developer guide. The module is cheap to import: the API, events and importing processes all read schemas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

LATEST_TIMESTAMP = 100_000_000_000  # seconds: the year 5138; today in milliseconds is 17 times as much
NUMBERS = ("long", "int", "float", "double")
TYPES = ("string", *NUMBERS, "boolean")
MAX_CHARACTERS = 20_000  # of the schema's text
#: ASCII letters only: names become columns of CSV headers and of filter expressions.
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# The `name` of a schema is its dataset type; a dataset's type on the wire is the same name in capitals.
DATASET_TYPES = {
    "Interactions": "INTERACTIONS",
    "Items": "ITEMS",
    "Users": "USERS",
    "Actions": "ACTIONS",
    "ActionInteractions": "ACTION_INTERACTIONS",
}


class SchemaError(ValueError):
    """A schema that Amazon Personalize does not accept; the message says what to change."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column. `type` is one of TYPES; `nullable` means that the schema gives a union with "null"."""

    name: str
    type: str
    nullable: bool = False
    categorical: bool = False
    textual: bool = False
    item_name: bool = False
    limits: tuple[int, int] | None = None
    """The smallest and the largest value, where AWS limits the column."""

    @property
    def numeric(self) -> bool:
        return self.type in NUMBERS


@dataclass(frozen=True, kw_only=True)
class DatasetSchema:
    """A checked schema. `fields` have the order and the names of the schema's text."""

    name: str
    fields: tuple[Field, ...]

    @property
    def dataset_type(self) -> str:
        """INTERACTIONS, ITEMS, USERS, ACTIONS or ACTION_INTERACTIONS, as in a dataset's ARN."""
        return DATASET_TYPES[self.name]

    @property
    def key(self) -> str | None:
        """The column with the id of a row (a later row of an id replaces it); None where rows are events."""
        return {"ITEMS": "ITEM_ID", "USERS": "USER_ID", "ACTIONS": "ACTION_ID"}.get(self.dataset_type)

    @property
    def metadata(self) -> tuple[Field, ...]:
        """The fields that only describe a row: those that AWS neither requires nor reserves."""
        kept = {field.name for field in (*_REQUIRED[self.dataset_type], *_RESERVED[self.dataset_type])}
        return tuple(field for field in self.fields if field.name not in kept)

    @cached_property
    def columns(self) -> Mapping[str, Field]:
        return {field.name: field for field in self.fields}

    def find_column(self, name: str) -> Field | None:
        """Return the field of exactly this name, or None."""
        return self.columns.get(name)


def parse_schema(text: str, dataset_type: str | None = None, domain: str | None = None) -> DatasetSchema:
    """Parse and check the Avro JSON of CreateSchema.

    `dataset_type` is that of CreateDataset, upper or lower case ("Interactions", "ACTION_INTERACTIONS"); without it
    the schema's own `name` decides. `domain` is ECOMMERCE, VIDEO_ON_DEMAND or None. Raises SchemaError.
    """
    record = _parse_record(text)
    name = _resolve_schema_name(record.get("name"), dataset_type)
    fields = record.get("fields")
    if not isinstance(fields, list) or not fields:
        raise SchemaError('The schema has no fields. Add "fields", a list of objects with "name" and "type".')
    limits = {field.name: field.limits for field in _RESERVED[DATASET_TYPES[name]]}
    declared = [_parse_field(field) for field in fields]
    schema = DatasetSchema(name=name, fields=tuple(replace(f, limits=limits.get(f.name)) for f in declared))
    _check_unique_names(schema)
    for field in schema.fields:
        _check_attributes(field, schema.dataset_type)
    _check_one_of_each_attribute(schema)
    _check_declared_columns(schema, domain)
    _check_own_fields(schema, domain)
    return schema


def _parse_record(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise SchemaError(f"The schema has {len(text)} characters; at most {MAX_CHARACTERS} are allowed.")
    try:
        # Editors on Windows save a byte order mark at the beginning of the text.
        # Stricter than the standard library: half a surrogate pair could be neither stored nor repeated in a message.
        record = orjson.loads(text.removeprefix("\ufeff"))
    except orjson.JSONDecodeError as error:
        raise SchemaError(f"The schema is not valid JSON: {error}.") from error
    if not isinstance(record, dict) or record.get("type") != "record":
        raise SchemaError('The schema must be an Avro record: a JSON object with "type": "record".')
    return record


def _resolve_schema_name(name: Any, dataset_type: str | None) -> str:
    known = {normalize_name(each): each for each in DATASET_TYPES}
    found = known.get(normalize_name(name)) if isinstance(name, str) else None
    if found is None:
        raise SchemaError(
            f"The name of the schema is {_format_value(name)}; it must be the dataset type: {', '.join(DATASET_TYPES)}."
        )
    if dataset_type is not None and normalize_name(dataset_type) != normalize_name(found):
        raise SchemaError(
            f"The name of the schema is {found}, so it cannot be used for a dataset of type {dataset_type}. "
            "Use a schema whose name is the dataset type."
        )
    return found


def _parse_field(declared: Any) -> Field:
    if not isinstance(declared, dict):
        raise SchemaError(f'The field {_format_value(declared)} must be an object with "name" and "type".')
    name = declared.get("name")
    if not isinstance(name, str) or not FIELD_NAME.fullmatch(name):
        raise SchemaError(
            f"The field name {_format_value(name)} is not allowed. Use letters, digits and underscores, and begin "
            "with a letter or an underscore."
        )
    kind, nullable = _parse_type(name, declared.get("type"))
    return Field(
        name=name,
        type=kind,
        nullable=nullable,
        categorical=_read_flag(name, declared, "categorical"),
        textual=_read_flag(name, declared, "textual"),
        item_name=_read_flag(name, declared, "itemName"),
    )


def _parse_type(name: str, declared: Any) -> tuple[str, bool]:
    # AWS's own default schemas write a lone type as a union too: ["string"].
    union = declared if isinstance(declared, list) else [declared]
    kinds = [kind for kind in union if kind != "null"]
    if len(kinds) != 1 or len(union) - len(kinds) > 1 or kinds[0] not in TYPES:
        raise SchemaError(
            f"The type of the field {name} is {_format_value(declared)}, which is not supported. Use one of "
            f'{", ".join(TYPES)}, or a union of one of them with "null", as in ["null", "string"].'
        )
    return kinds[0], len(union) > len(kinds)


def _read_flag(name: str, declared: Mapping[str, Any], attribute: str) -> bool:
    value = declared.get(attribute, False)
    if not isinstance(value, bool):
        raise SchemaError(
            f'The attribute "{attribute}" of the field {name} is {_format_value(value)}; it must be true or false.'
        )
    return value


def _check_unique_names(schema: DatasetSchema) -> None:
    seen: dict[str, str] = {}
    for field in schema.fields:
        if (other := seen.get(normalize_name(field.name))) is not None:
            raise SchemaError(
                f"The field names {other} and {field.name} clash. Names must be unique when underscores and "
                "case are ignored; rename one of them."
            )
        seen[normalize_name(field.name)] = field.name


def _check_attributes(field: Field, dataset_type: str) -> None:
    attributes = {"categorical": field.categorical, "textual": field.textual, "itemName": field.item_name}
    given = [attribute for attribute, is_set in attributes.items() if is_set]
    for attribute in given:
        if field.type != "string":
            raise SchemaError(
                f'The field {field.name} of type {field.type} is "{attribute}", which only a string can be. '
                f'Remove "{attribute}" or make it a string.'
            )
        if attribute != "categorical" and dataset_type != "ITEMS":
            raise SchemaError(
                f'The field {field.name} is "{attribute}", which only a field of an Items schema can be. '
                f'Remove "{attribute}".'
            )
    if field.categorical and field.textual:
        raise SchemaError(f"The field {field.name} is categorical and textual. Remove one of the two attributes.")


def _check_one_of_each_attribute(schema: DatasetSchema) -> None:
    for attribute, marked in (
        ("textual", [field.name for field in schema.fields if field.textual]),
        ("itemName", [field.name for field in schema.fields if field.item_name]),
    ):
        if len(marked) > 1:
            raise SchemaError(
                f'The fields {", ".join(marked)} are "{attribute}"; a schema can have only one. '
                f'Remove "{attribute}" from all but one.'
            )


# The tables of the guide's dataset pages. Here `nullable` means that the field may be a union with "null", while
# `categorical` and `textual` mean that the field must have this attribute.
_USER_ID = Field(name="USER_ID", type="string")
_ITEM_ID = Field(name="ITEM_ID", type="string")
_ACTION_ID = Field(name="ACTION_ID", type="string")
_TIMESTAMP = Field(name="TIMESTAMP", type="long")
_EVENT_TYPE = Field(name="EVENT_TYPE", type="string")
_IMPRESSION = Field(name="IMPRESSION", type="string", nullable=True)
_RECOMMENDATION_ID = Field(name="RECOMMENDATION_ID", type="string", nullable=True)
# An empty cell has a meaning: training then infers an item's creation from its interactions.
_CREATION_TIMESTAMP = Field(name="CREATION_TIMESTAMP", type="long", nullable=True)


def _make_label(name: str) -> Field:
    return Field(name=name, type="string", nullable=True, categorical=True)


def _make_number(name: str, kind: str, limits: tuple[int, int] | None = None) -> Field:
    return Field(name=name, type=kind, nullable=True, limits=limits)


_REQUIRED: Mapping[str, tuple[Field, ...]] = {
    "INTERACTIONS": (_USER_ID, _ITEM_ID, _TIMESTAMP),
    "ITEMS": (_ITEM_ID,),
    "USERS": (_USER_ID,),
    "ACTIONS": (_ACTION_ID,),
    "ACTION_INTERACTIONS": (_USER_ID, _ACTION_ID, _EVENT_TYPE, _TIMESTAMP),
}
_RESERVED: Mapping[str, tuple[Field, ...]] = {
    "INTERACTIONS": (
        _EVENT_TYPE,
        _make_number("EVENT_VALUE", "float"),
        _IMPRESSION,
        _RECOMMENDATION_ID,
        Field(name="EVENT_ATTRIBUTION_SOURCE", type="string", nullable=True),
    ),
    "ITEMS": (_CREATION_TIMESTAMP,),
    "USERS": (),
    "ACTIONS": (
        _CREATION_TIMESTAMP,
        _make_number("VALUE", "long", (1, 10)),
        Field(name="TYPE", type="string", nullable=True),
        # The guide's table and its text have different names for this column.
        _make_number("EXPIRATION_TIMESTAMP", "long"),
        _make_number("ACTION_EXPIRATION_TIMESTAMP", "long"),
        _make_number("REPEAT_FREQUENCY", "long", (0, 30)),  # days
    ),
    "ACTION_INTERACTIONS": (_IMPRESSION, _RECOMMENDATION_ID),
}
_PRODUCT_DESCRIPTION = Field(name="PRODUCT_DESCRIPTION", type="string", nullable=True, textual=True)
_DOMAIN_REQUIRED: Mapping[tuple[str, str], tuple[Field, ...]] = {
    ("VIDEO_ON_DEMAND", "INTERACTIONS"): (_EVENT_TYPE,),
    ("ECOMMERCE", "INTERACTIONS"): (_EVENT_TYPE,),
    ("VIDEO_ON_DEMAND", "ITEMS"): (
        Field(name="GENRES", type="string", categorical=True),
        Field(name="CREATION_TIMESTAMP", type="long"),
    ),
    ("ECOMMERCE", "ITEMS"): (
        Field(name="PRICE", type="float"),
        Field(name="CATEGORY_L1", type="string", categorical=True),
    ),
}
_DOMAIN_RESERVED: Mapping[tuple[str, str], tuple[Field, ...]] = {
    ("VIDEO_ON_DEMAND", "ITEMS"): (
        _make_number("PRICE", "float"),
        _make_number("DURATION", "float"),
        _make_label("GENRE_L2"),
        _make_label("GENRE_L3"),
        _make_number("AVERAGE_RATING", "float"),
        _PRODUCT_DESCRIPTION,
        _make_label("CONTENT_OWNER"),
        _make_label("CONTENT_CLASSIFICATION"),
    ),
    ("ECOMMERCE", "ITEMS"): (
        _make_label("CATEGORY_L2"),
        _make_label("CATEGORY_L3"),
        _PRODUCT_DESCRIPTION,
        _make_label("AGE_GROUP"),
        _make_label("ADULT"),
        _make_label("GENDER"),
    ),
}
# AWS's current quotas of fields that are neither required nor reserved.
MAX_OWN_FIELDS = {"INTERACTIONS": 5, "ITEMS": 100, "USERS": 25, "ACTIONS": 10, "ACTION_INTERACTIONS": 5}


def get_declared_columns(dataset_type: str, domain: str | None = None) -> tuple[dict[str, Field], dict[str, Field]]:
    """Return the required and the reserved columns of a dataset type, by name; no name is in both."""
    of_domain = (domain or "", dataset_type)
    required = {f.name: f for f in (*_REQUIRED[dataset_type], *_DOMAIN_REQUIRED.get(of_domain, ()))}
    reserved = {f.name: f for f in (*_RESERVED[dataset_type], *_DOMAIN_RESERVED.get(of_domain, ()))}
    return required, {name: field for name, field in reserved.items() if name not in required}


def get_required_columns(dataset_type: str, domain: str | None = None) -> frozenset[str]:
    """Return the names of the columns that every schema of this type must have."""
    return frozenset(get_declared_columns(dataset_type, domain)[0])


def _check_declared_columns(schema: DatasetSchema, domain: str | None) -> None:
    if domain is not None and schema.dataset_type in ("ACTIONS", "ACTION_INTERACTIONS"):
        raise SchemaError(
            f"A schema of the domain {domain} cannot be of type {schema.name}. Create it without a domain."
        )
    required, reserved = get_declared_columns(schema.dataset_type, domain)
    if missing := [name for name in required if name not in schema.columns]:
        raise SchemaError(
            f"The {schema.name} schema{f' of the domain {domain}' if domain else ''} is missing the required "
            f"fields:[{', '.join(missing)}]. Field names are matched as written, in capitals."
        )
    for field in schema.fields:
        if expected := required.get(field.name) or reserved.get(field.name):
            _check_declared_column(field, expected)


def _check_declared_column(field: Field, expected: Field) -> None:
    if field.type != expected.type:
        raise SchemaError(f"The field {field.name} has type {field.type}; it must be {expected.type}.")
    if field.nullable and not expected.nullable:
        raise SchemaError(f'The field {field.name} cannot be null. Remove "null" from its type.')
    if field.categorical != expected.categorical:
        change = 'Add "categorical": true to' if expected.categorical else 'Remove "categorical" from'
        raise SchemaError(f"{change} the field {field.name}: AWS defines this field.")
    if field.textual != expected.textual:
        change = 'Add "textual": true to' if expected.textual else 'Remove "textual" from'
        raise SchemaError(f"{change} the field {field.name}: AWS defines this field.")


def _check_own_fields(schema: DatasetSchema, domain: str | None) -> None:
    if schema.key is not None and not schema.metadata:
        only = ", ".join(field.name for field in schema.fields)
        raise SchemaError(f"The {schema.name} schema has only {only}. Add at least one metadata field to it.")
    required, reserved = get_declared_columns(schema.dataset_type, domain)
    own = [field.name for field in schema.fields if field.name not in required and field.name not in reserved]
    limit = MAX_OWN_FIELDS[schema.dataset_type]
    if len(own) > limit:
        raise SchemaError(
            f"The {schema.name} schema has {len(own)} metadata fields; at most {limit} are allowed. "
            f"Remove {len(own) - limit}."
        )


def normalize_name(name: str) -> str:
    """Return a column's name without underscores and case, which do not distinguish names."""
    return name.replace("_", "").casefold()


def _format_value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
