"""What CreateSchema accepts, by the tables of AWS's guide, and how a refusal is worded."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.schemas import DATASET_TYPES, TYPES, Field, SchemaError, parse_schema

USER_ID = {"name": "USER_ID", "type": "string"}
ITEM_ID = {"name": "ITEM_ID", "type": "string"}
ACTION_ID = {"name": "ACTION_ID", "type": "string"}
TIMESTAMP = {"name": "TIMESTAMP", "type": "long"}
EVENT_TYPE = {"name": "EVENT_TYPE", "type": "string"}
INTERACTIONS = [USER_ID, ITEM_ID, TIMESTAMP]
LEAST = {
    "Interactions": INTERACTIONS,
    "Items": [ITEM_ID, {"name": "PRICE", "type": "float"}],
    "Users": [USER_ID, {"name": "AGE", "type": "int"}],
    "Actions": [ACTION_ID, {"name": "KIND", "type": "string"}],
    "ActionInteractions": [USER_ID, ACTION_ID, EVENT_TYPE, TIMESTAMP],
}


def text(name: str, fields: list[Any], **more: Any) -> str:
    return json.dumps(
        {
            "type": "record",
            "name": name,
            "namespace": "com.amazonaws.personalize.schema",
            "fields": fields,
            "version": "1.0",
            **more,
        }
    )


def refusal(name: str, fields: list[Any], **context: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        parse_schema(text(name, fields), **context)
    return str(caught.value)


def test_it_works() -> None:
    schema = parse_schema(
        text(
            "Items",
            [
                ITEM_ID,
                {"name": "GENRES", "type": ["null", "string"], "categorical": True},
                {"name": "DESCRIPTION", "type": ["string", "null"], "textual": True},
                {"name": "TITLE", "type": "string", "itemName": True},
                {"name": "CREATION_TIMESTAMP", "type": "long"},
            ],
        ),
        dataset_type="ITEMS",
    )
    assert schema.name == "Items"
    assert schema.dataset_type == "ITEMS"
    assert schema.key == "ITEM_ID"
    assert schema.fields == (
        Field(name="ITEM_ID", type="string"),
        Field(name="GENRES", type="string", nullable=True, categorical=True),
        Field(name="DESCRIPTION", type="string", nullable=True, textual=True),
        Field(name="TITLE", type="string", item_name=True),
        Field(name="CREATION_TIMESTAMP", type="long"),
    )
    assert schema.find_column("GENRES") == schema.fields[1]
    assert schema.find_column("genres") is None


@pytest.mark.parametrize("name", DATASET_TYPES)
def test_the_least_schema_of_each_type_is_accepted_under_its_wire_name_too(name: str) -> None:
    schema = parse_schema(text(name, LEAST[name]), dataset_type=DATASET_TYPES[name])
    assert (schema.name, schema.dataset_type) == (name, DATASET_TYPES[name])
    assert parse_schema(text(DATASET_TYPES[name], LEAST[name])) == schema


def test_events_have_no_key() -> None:
    assert parse_schema(text("Interactions", INTERACTIONS)).key is None


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("order", [1, -1])
def test_every_type_may_be_a_union_with_null_in_either_order(type_: str, order: int) -> None:
    schema = parse_schema(text("Users", [USER_ID, {"name": "X", "type": ["null", type_][::order]}]))
    assert schema.find_column("X") == Field(name="X", type=type_, nullable=True)


def test_a_union_of_one_type_is_that_type() -> None:
    schema = parse_schema(text("Users", [USER_ID, {"name": "X", "type": ["string"]}]))
    assert schema.find_column("X") == Field(name="X", type="string")


@pytest.mark.parametrize(
    "type_",
    [
        "null", ["null"], ["null", "null"], ["int", "string"], ["null", "int", "string"], [], None, 3, "String",
        "bytes", {"type": "array", "items": "string"}, ["null", {"type": "map", "values": "int"}],
    ],
)  # fmt: skip
def test_other_types_are_refused(type_: Any) -> None:
    message = refusal("Users", [USER_ID, {"name": "X", "type": type_}])
    assert message.startswith("The type of the field X is ")
    assert 'a union of one of them with "null"' in message


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("{", "The schema is not valid JSON: "),
        ("[" * 19_000, "The schema is not valid JSON: "),
        ("1" * 5_000, "The schema is not valid JSON: "),
        ('{"type": "record", "name": "\\ud800", "fields": []}', "The schema is not valid JSON: "),
        ('{"type": "record", "name": "Items", "doc": "\\udc00"}', "The schema is not valid JSON: "),
        ('{"type": "record", "name": "Items", "version": NaN}', "The schema is not valid JSON: "),
        ("[]", "must be an Avro record"),
        ('"record"', "must be an Avro record"),
        ('{"type": "enum", "name": "Items"}', "must be an Avro record"),
        ('{"type": "record", "name": "Items"}', "The schema has no fields"),
        ('{"type": "record", "name": "Items", "fields": []}', "The schema has no fields"),
        ('{"type": "record", "name": "Items", "fields": {"name": "X"}}', "The schema has no fields"),
        ('{"type": "record", "name": "Items", "fields": ["ITEM_ID"]}', "must be an object"),
        ('{"type": "record", "name": ["Items"], "fields": []}', "it must be the dataset type: Interactions, "),
        ('{"type": "record", "fields": []}', "it must be the dataset type: Interactions, "),
        (" " * 20_001, "The schema has 20001 characters; at most 20000 are allowed."),
    ],
)
def test_what_is_no_schema_is_refused(broken: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_schema(broken)
    assert message in str(caught.value)


def test_a_name_that_is_no_dataset_type_is_refused() -> None:
    assert refusal("Films", INTERACTIONS) == (
        'The name of the schema is "Films"; it must be the dataset type: '
        "Interactions, Items, Users, Actions, ActionInteractions."
    )


def test_a_schema_of_another_dataset_type_is_refused() -> None:
    assert refusal("Interactions", INTERACTIONS, dataset_type="Items") == (
        "The name of the schema is Interactions, so it cannot be used for a dataset of type Items. "
        "Use a schema whose name is the dataset type."
    )


@pytest.mark.parametrize("name", ["", "1X", "X-Y", "X Y", "É", "X\n", "X.Y", None, 5])
def test_field_names_are_letters_digits_and_underscores(name: Any) -> None:
    assert "is not allowed. Use letters, digits and underscores" in refusal(
        "Users", [USER_ID, {"name": name, "type": "int"}]
    )


@pytest.mark.parametrize("other", ["GENRESFIELD1", "genres_field_1", "GENRES_FIELD_1"])
def test_field_names_clash_when_underscores_and_case_are_ignored(other: str) -> None:
    fields = [ITEM_ID, {"name": "GENRES_FIELD_1", "type": "string"}, {"name": other, "type": "string"}]
    assert refusal("Items", fields).startswith(f"The field names GENRES_FIELD_1 and {other} clash.")


@pytest.mark.parametrize("name", DATASET_TYPES)
def test_each_required_field_is_required_with_its_type_and_never_null(name: str) -> None:
    least = LEAST[name]
    required = least if name.endswith("nteractions") else least[:1]
    for field in required:
        others = [each for each in least if each is not field]
        rest = others or [{"name": "X", "type": "int"}]
        assert f"is missing the required fields:[{field['name']}]" in refusal(name, rest)
        other_type = "long" if field["type"] == "string" else "int"
        assert refusal(name, [*others, {**field, "type": other_type}]) == (
            f"The field {field['name']} has type {other_type}; it must be {field['type']}."
        )
        assert refusal(name, [*others, {**field, "type": ["null", field["type"]]}]) == (
            f'The field {field["name"]} cannot be null. Remove "null" from its type.'
        )


def test_all_missing_fields_are_named_at_once() -> None:
    assert "fields:[USER_ID, ITEM_ID]" in refusal("Interactions", [TIMESTAMP])
    assert "fields:[USER_ID]" in refusal("Interactions", [{**USER_ID, "name": "user_id"}, ITEM_ID, TIMESTAMP])


@pytest.mark.parametrize(
    "field",
    [
        {"name": "EVENT_TYPE", "type": "string"},
        {"name": "EVENT_VALUE", "type": ["null", "float"]},
        {"name": "EVENT_VALUE", "type": "float"},
        {"name": "IMPRESSION", "type": ["null", "string"]},
        {"name": "RECOMMENDATION_ID", "type": ["string", "null"]},
        {"name": "EVENT_ATTRIBUTION_SOURCE", "type": ["string", "null"]},
    ],
)
def test_reserved_fields_of_interactions_are_accepted(field: dict[str, Any]) -> None:
    assert parse_schema(text("Interactions", [*INTERACTIONS, field])).find_column(field["name"]) is not None


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"name": "EVENT_TYPE", "type": ["null", "string"]}, "The field EVENT_TYPE cannot be null."),
        ({**EVENT_TYPE, "categorical": True}, 'Remove "categorical" from the field EVENT_TYPE'),
        ({"name": "EVENT_VALUE", "type": "string"}, "The field EVENT_VALUE has type string; it must be float."),
        ({"name": "IMPRESSION", "type": "long"}, "The field IMPRESSION has type long; it must be string."),
    ],
)
def test_reserved_fields_of_interactions_are_what_aws_says(field: dict[str, Any], message: str) -> None:
    assert message in refusal("Interactions", [*INTERACTIONS, field])


def test_categorical_is_for_strings() -> None:
    assert refusal("Users", [USER_ID, {"name": "AGE", "type": "int", "categorical": True}]) == (
        'The field AGE of type int is "categorical", which only a string can be. '
        'Remove "categorical" or make it a string.'
    )


@pytest.mark.parametrize("attribute", ["textual", "itemName"])
def test_textual_and_item_name_are_for_one_string_of_items(attribute: str) -> None:
    a, b = ({"name": name, "type": "string", attribute: True} for name in "AB")
    assert parse_schema(text("Items", [ITEM_ID, a]))
    assert f'The fields A, B are "{attribute}"; a schema can have only one.' in refusal("Items", [ITEM_ID, a, b])
    assert "only a field of an Items schema can be" in refusal("Users", [USER_ID, a])
    assert "which only a string can be" in refusal("Items", [ITEM_ID, {**a, "type": "int"}])


def test_a_field_is_not_categorical_and_textual() -> None:
    field = {"name": "A", "type": "string", "textual": True, "categorical": True}
    assert "The field A is categorical and textual." in refusal("Items", [ITEM_ID, field])


@pytest.mark.parametrize("value", ["true", 1, None])
def test_attributes_are_booleans(value: Any) -> None:
    message = refusal("Users", [USER_ID, {"name": "A", "type": "string", "categorical": value}])
    assert 'The attribute "categorical" of the field A' in message


@pytest.mark.parametrize(("name", "key"), [("Items", ITEM_ID), ("Users", USER_ID), ("Actions", ACTION_ID)])
def test_an_id_alone_is_no_metadata(name: str, key: dict[str, Any]) -> None:
    assert f"has only {key['name']}. Add at least one metadata field" in refusal(name, [key])


@pytest.mark.parametrize(
    ("name", "limit"),
    [("Interactions", 5), ("Items", 100), ("Users", 25), ("Actions", 10), ("ActionInteractions", 5)],
)
def test_own_fields_are_limited_and_reserved_ones_do_not_count(name: str, limit: int) -> None:
    base = {"Interactions": [*INTERACTIONS, EVENT_TYPE], "ActionInteractions": LEAST["ActionInteractions"]}.get(
        name, LEAST[name][:1]
    )
    own = [{"name": f"X{n}", "type": "int"} for n in range(limit + 1)]
    assert parse_schema(text(name, base + own[:limit]))
    assert refusal(name, base + own) == (
        f"The {name} schema has {limit + 1} metadata fields; at most {limit} are allowed. Remove 1."
    )


@pytest.mark.parametrize("domain", ["ECOMMERCE", "VIDEO_ON_DEMAND"])
def test_interactions_of_a_domain_need_event_types(domain: str) -> None:
    assert parse_schema(text("Interactions", [*INTERACTIONS, EVENT_TYPE]), domain=domain)
    assert f"of the domain {domain} is missing the required fields:[EVENT_TYPE]" in refusal(
        "Interactions", INTERACTIONS, domain=domain
    )


def test_items_of_a_domain_need_its_fields() -> None:
    video = [
        ITEM_ID,
        {"name": "GENRES", "type": ["string"], "categorical": True},
        {"name": "CREATION_TIMESTAMP", "type": "long"},
        {"name": "PRODUCT_DESCRIPTION", "type": ["null", "string"], "textual": True},
        {"name": "DURATION", "type": ["null", "float"]},
    ]
    shop = [
        ITEM_ID,
        {"name": "PRICE", "type": "float"},
        {"name": "CATEGORY_L1", "type": ["string"], "categorical": True},
        {"name": "CATEGORY_L2", "type": ["null", "string"], "categorical": True},
    ]
    assert parse_schema(text("Items", video), domain="VIDEO_ON_DEMAND")
    assert parse_schema(text("Items", shop), domain="ECOMMERCE")
    assert "fields:[GENRES, CREATION_TIMESTAMP]" in refusal("Items", shop, domain="VIDEO_ON_DEMAND")
    assert "fields:[PRICE, CATEGORY_L1]" in refusal("Items", video, domain="ECOMMERCE")
    assert refusal("Items", [*video[:4], {"name": "DURATION", "type": "int"}], domain="VIDEO_ON_DEMAND") == (
        "The field DURATION has type int; it must be float."
    )
    plain = {"name": "CATEGORY_L2", "type": "string"}
    assert 'Add "categorical": true to the field CATEGORY_L2' in refusal(
        "Items", [*shop[:3], plain], domain="ECOMMERCE"
    )
    untextual = {"name": "PRODUCT_DESCRIPTION", "type": "string"}
    assert 'Add "textual": true to the field PRODUCT_DESCRIPTION' in refusal(
        "Items", [*shop, untextual], domain="ECOMMERCE"
    )


@pytest.mark.parametrize("name", ["Actions", "ActionInteractions"])
def test_a_domain_has_no_actions(name: str) -> None:
    assert "Create it without a domain." in refusal(name, LEAST[name], domain="ECOMMERCE")


def test_other_attributes_and_versions_are_ignored() -> None:
    field = {"name": "X", "type": "int", "doc": "what it is", "default": 0}
    assert parse_schema(text("Users", [USER_ID, field], version="1.1", doc="users"))


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), lambda inner: st.lists(inner)
       | st.dictionaries(st.sampled_from(["name", "type", "fields", "categorical", "x"]), inner)))  # fmt: skip
def test_whatever_a_field_is_the_answer_is_a_schema_or_a_refusal(field: Any) -> None:
    with contextlib.suppress(SchemaError):
        assert parse_schema(text("Users", [field, USER_ID])).find_column("USER_ID")


def test_reading_schemas_needs_no_heavy_library() -> None:
    code = "import sys, shared.data.schemas; print(sorted({'duckdb', 'numpy', 'boto3', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
