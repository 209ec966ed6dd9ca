"""The columns to which AWS gives a meaning, by dataset type and domain: each may be what the guide says, and no more.

The tables stand here as they stand in the guide ("Custom datasets and schemas", "Domain datasets and schemas").
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from shared.data.schemas import TYPES, SchemaError, get_required_columns, parse_schema

Columns = dict[str, str]

EVENT: Columns = {
    "EVENT_VALUE": "float null",
    "IMPRESSION": "string null",
    "RECOMMENDATION_ID": "string null",
    "EVENT_ATTRIBUTION_SOURCE": "string null",
}
#: (dataset type, domain) -> what must be there, and what may be.
TABLE: dict[tuple[str, str | None], tuple[Columns, Columns]] = {
    ("Interactions", None): (
        {"USER_ID": "string", "ITEM_ID": "string", "TIMESTAMP": "long"},
        {"EVENT_TYPE": "string", **EVENT},
    ),
    ("Users", None): ({"USER_ID": "string"}, {}),
    ("Items", None): ({"ITEM_ID": "string"}, {"CREATION_TIMESTAMP": "long null"}),
    ("Actions", None): (
        {"ACTION_ID": "string"},
        {
            "CREATION_TIMESTAMP": "long null",
            "VALUE": "long null",
            "TYPE": "string null",
            "EXPIRATION_TIMESTAMP": "long null",
            "ACTION_EXPIRATION_TIMESTAMP": "long null",
            "REPEAT_FREQUENCY": "long null",
        },
    ),
    ("ActionInteractions", None): (
        {"USER_ID": "string", "ACTION_ID": "string", "EVENT_TYPE": "string", "TIMESTAMP": "long"},
        {"IMPRESSION": "string null", "RECOMMENDATION_ID": "string null"},
    ),
    ("Items", "VIDEO_ON_DEMAND"): (
        {"ITEM_ID": "string", "GENRES": "string categorical", "CREATION_TIMESTAMP": "long"},
        {
            "PRICE": "float null",
            "DURATION": "float null",
            "GENRE_L2": "string null categorical",
            "GENRE_L3": "string null categorical",
            "AVERAGE_RATING": "float null",
            "PRODUCT_DESCRIPTION": "string null textual",
            "CONTENT_OWNER": "string null categorical",
            "CONTENT_CLASSIFICATION": "string null categorical",
        },
    ),
    ("Items", "ECOMMERCE"): (
        {"ITEM_ID": "string", "PRICE": "float", "CATEGORY_L1": "string categorical"},
        {
            "CATEGORY_L2": "string null categorical",
            "CATEGORY_L3": "string null categorical",
            "PRODUCT_DESCRIPTION": "string null textual",
            "CREATION_TIMESTAMP": "long null",
            "AGE_GROUP": "string null categorical",
            "ADULT": "string null categorical",
            "GENDER": "string null categorical",
        },
    ),
}
for DOMAIN in ("VIDEO_ON_DEMAND", "ECOMMERCE"):
    TABLE["Interactions", DOMAIN] = (
        {"USER_ID": "string", "ITEM_ID": "string", "TIMESTAMP": "long", "EVENT_TYPE": "string"},
        EVENT,
    )
    TABLE["Users", DOMAIN] = ({"USER_ID": "string"}, {})

OWN = {"name": "OWN", "type": "int"}
EACH = [(*place, column) for place, tables in TABLE.items() for column in itertools.chain(*tables)]


def field(name: str, declared: str) -> dict[str, Any]:
    """``declared`` as in "string null categorical"."""
    kind, *more = declared.split()
    attributes = dict.fromkeys((word for word in more if word != "null"), True)
    return {"name": name, "type": ["null", kind] if "null" in more else kind, **attributes}


def text(name: str, columns: Columns) -> str:
    fields = [*(field(*column) for column in columns.items()), OWN]
    return json.dumps({"type": "record", "name": name, "fields": fields})


def is_accepted(name: str, domain: str | None, columns: Columns) -> bool:
    try:
        schema = parse_schema(text(name, columns), domain=domain)
    except SchemaError:
        return False
    return [each.name for each in schema.fields] == [*columns, "OWN"]


@pytest.mark.parametrize(("name", "domain"), TABLE)
def test_all_of_the_table_is_accepted_and_what_is_required_is(name: str, domain: str | None) -> None:
    required, reserved = TABLE[name, domain]
    assert is_accepted(name, domain, required | reserved)
    assert get_required_columns(parse_schema(text(name, required), domain=domain).dataset_type, domain) == set(required)
    for missing in required:
        rest = {column: declared for column, declared in required.items() if column != missing}
        assert not is_accepted(name, domain, rest)


@pytest.mark.parametrize(("name", "domain", "column"), EACH)
def test_each_has_its_type_and_attributes_and_may_be_null_only_where_it_says(
    name: str, domain: str | None, column: str
) -> None:
    required, reserved = TABLE[name, domain]
    kind, *more = (required | reserved)[column].split()

    def accepted(declared: str) -> bool:
        return is_accepted(name, domain, {**required, column: declared})

    attributes = " ".join(word for word in more if word != "null")
    assert accepted(f"{kind} {attributes}")
    assert accepted(f"{kind} null {attributes}") == ("null" in more)
    for other in TYPES:
        assert accepted(f"{other} {attributes}") == (other == kind)
    if kind == "string":
        for attribute in ("categorical", "textual"):
            assert accepted(f"string {attribute}") == (attribute in more)
        assert accepted("string") == (not attributes)


@pytest.mark.parametrize(
    ("name", "domain", "column"),
    [("Users", "VIDEO_ON_DEMAND", "SUBSCRIPTION_MODEL"), ("Users", "ECOMMERCE", "MEMBERSHIP_STATUS")],
)
def test_the_column_of_a_domains_default_schema_of_users_is_metadata(name: str, domain: str, column: str) -> None:
    schema = parse_schema(text(name, {"USER_ID": "string", column: "string null categorical"}), domain=domain)
    assert [each.name for each in schema.metadata] == [column, "OWN"]


@pytest.mark.parametrize(
    ("name", "columns"),
    [("Items", "ITEM_ID CREATION_TIMESTAMP"), ("Actions", "ACTION_ID VALUE TYPE"), ("Users", "USER_ID")],
)
def test_reserved_columns_are_no_metadata(name: str, columns: str) -> None:
    required, reserved = TABLE[name, None]
    fields = [field(column, (required | reserved)[column]) for column in columns.split()]
    with pytest.raises(SchemaError, match=f"has only {columns.replace(' ', ', ')}. Add at least one metadata field"):
        parse_schema(json.dumps({"type": "record", "name": name, "fields": fields}))


def test_limits_belong_to_the_columns_of_actions_alone() -> None:
    actions = parse_schema(text("Actions", {"ACTION_ID": "string", "VALUE": "long", "REPEAT_FREQUENCY": "long null"}))
    assert [each.limits for each in actions.fields] == [None, (1, 10), (0, 30), None]
    items = parse_schema(text("Items", {"ITEM_ID": "string", "VALUE": "long"}))
    assert {each.limits for each in items.fields} == {None}
