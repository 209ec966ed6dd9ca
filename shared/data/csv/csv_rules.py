"""Rules for the cells of CSV files, each as SQL over the raw text and as words for an error message.

Source: "Formatting your data" and the quotas of AWS's developer guide. Where AWS leaves a case open, a cell is refused
if its value would be lost or changed: 1.5 or 1e3 for a whole number, NaN and infinity, a timestamp in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.data.csv.csv_sql import quote_identifier, quote_literal
from shared.data.schemas import LATEST_TIMESTAMP, Field

MAX_ID_CHARACTERS = 256
MAX_STRING_CHARACTERS = 1000  # categorical values, impressions and plain strings
MAX_TEXT_CHARACTERS = 20_000  # of a textual field; longer texts are cut
MAX_CHINESE_OR_JAPANESE_CHARACTERS = 7_000  # of a text in Chinese or Japanese

# AWS does not say when a text counts as Chinese or Japanese: here, when half of its characters are.
_CHINESE_OR_JAPANESE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_IDS = frozenset({"USER_ID", "ITEM_ID", "ACTION_ID"})
_NEVER_NULL = _IDS | {"TIMESTAMP"}
PARQUET_TYPES = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "int": "INTEGER",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. `broken` is SQL, true for a cell that breaks the rule; `problem` ends the sentence about its value.

    `may_be_null`: a cell that breaks the rule holds no information and may be imported as null. Ids and TIMESTAMP
    never are.
    """

    broken: str
    problem: str
    may_be_null: bool = False


def list_rules(field: Field, *, has_nul: bool) -> list[Rule]:
    """Return the rules of a field, the most specific first. An empty cell reads as NULL, quoted or not."""
    raw = quote_identifier(field.name)
    found = [
        replace(rule, broken=f"{raw} IS NOT NULL AND ({rule.broken})") for rule in _list_type_rules(field, has_nul)
    ]
    if not field.nullable:
        empty = Rule(broken=f"{raw} IS NULL", problem="is empty, but the schema does not allow null", may_be_null=True)
        found = [empty, *found]
    return [replace(rule, may_be_null=rule.may_be_null and field.name not in _NEVER_NULL) for rule in found]


def _list_type_rules(field: Field, has_nul: bool) -> list[Rule]:
    raw, cast = quote_identifier(field.name), _cast_cell_sql(field)
    match field.type:
        case "string":
            return _list_string_rules(field, has_nul)
        case "boolean":
            return [_make_unreadable_rule(f"{raw} NOT IN ('true', 'false')", "is not true or false in lower case")]
        case "float" | "double":
            return [
                # DuckDB reads 1_000 as a thousand.
                _make_unreadable_rule(f"contains({raw}, '_')", "is not a number"),
                _make_unreadable_rule(f"TRY_CAST({raw} AS DOUBLE) IS NULL", "is not a number"),
                _make_unreadable_rule(
                    f"{cast} IS NULL OR NOT isfinite({cast})",
                    f"is not a finite number within the range of {field.type}",
                ),
            ]
        case _:
            # The cast alone would round 1.5 and accept 1e3; the pattern alone is slower for ordinary digits.
            unlike = f"{cast} IS NULL OR CAST({cast} AS VARCHAR) <> {raw}"
            whole = _make_unreadable_rule(
                f"({unlike}) AND NOT regexp_full_match(trim({raw}), '[+-]?[0-9]+')", "is not a whole number"
            )
            fits = _make_unreadable_rule(f"{cast} IS NULL", f"is out of the range of {field.type}")
            return [whole, fits, *_list_limit_rules(field), *_list_timestamp_rules(field)]


def _make_unreadable_rule(broken: str, problem: str) -> Rule:
    return Rule(broken=broken, problem=problem, may_be_null=True)


def _list_string_rules(field: Field, has_nul: bool) -> list[Rule]:
    raw = quote_identifier(field.name)
    rules = []
    if has_nul:
        rules.append(Rule(broken=f"contains({raw}, chr(0))", problem="holds a NUL character"))
    if not field.textual:
        limit = MAX_ID_CHARACTERS if field.name in _IDS else MAX_STRING_CHARACTERS
        # A string has at least as many bytes as characters, and counting bytes is cheap.
        rules.append(
            Rule(
                broken=f"strlen({raw}) > {limit} AND length({raw}) > {limit}",
                problem=f"is too long. Length cannot be more than {limit} characters for {field.name}",
            )
        )
    return rules


def _list_limit_rules(field: Field) -> list[Rule]:
    if field.limits is None:
        return []
    least, most = field.limits
    return [Rule(broken=f"{_cast_cell_sql(field)} NOT BETWEEN {least} AND {most}", problem=f"is not {least} to {most}")]


def _list_timestamp_rules(field: Field) -> list[Rule]:
    if not field.name.endswith("TIMESTAMP"):
        return []
    return [
        Rule(
            broken=f"{_cast_cell_sql(field)} > {LATEST_TIMESTAMP}",
            problem="is not a time in seconds since 1970. It looks like milliseconds; divide by 1000",
        )
    ]


def _cast_cell_sql(field: Field) -> str:
    return f"TRY_CAST({quote_identifier(field.name)} AS {PARQUET_TYPES[field.type]})"


def is_broken_sql(field: Field, *, has_nul: bool) -> str:
    """Return SQL that is true for a cell that breaks any rule."""
    return " OR ".join(f"({rule.broken})" for rule in list_rules(field, has_nul=has_nul)) or "false"


def describe_problem_sql(field: Field, *, has_nul: bool) -> str:
    """Return SQL for the problem of the first rule that a cell breaks, or NULL."""
    return _select_first_broken_sql(field, has_nul, lambda rule: quote_literal(rule.problem))


def may_be_null_sql(field: Field, *, has_nul: bool) -> str:
    """Return SQL: true for a broken cell that may be null, false for any other broken cell, NULL for a good one."""
    return _select_first_broken_sql(field, has_nul, lambda rule: "true" if rule.may_be_null else "false")


def _select_first_broken_sql(field: Field, has_nul: bool, result: Callable[[Rule], str]) -> str:
    cases = [f"WHEN {rule.broken} THEN {result(rule)}" for rule in list_rules(field, has_nul=has_nul)]
    return f"CASE {' '.join(cases)} END" if cases else "NULL"


def check_and_cast_sql(field: Field, *, has_nul: bool, unreadable_as_null: bool = False) -> str:
    """Return SQL for the typed value of a cell; the query fails at a cell that breaks a rule.

    `unreadable_as_null` turns the broken cells that may be null into NULL.
    """
    raw = quote_identifier(field.name)
    typed = _cast_cell_sql(field)
    if field.textual:
        typed = trim_text_sql(field)
    elif field.type == "string":
        typed = raw
    refusal = f"WHEN {is_broken_sql(field, has_nul=has_nul)} THEN error('a cell breaks a rule')"
    if unreadable_as_null:
        refusal = f"WHEN {may_be_null_sql(field, has_nul=has_nul)} THEN NULL {refusal}"
    return f"CASE {refusal} ELSE {typed} END AS {raw}"


def trim_text_sql(field: Field) -> str:
    """Return SQL that cuts a text to AWS's longest length."""
    raw = quote_identifier(field.name)
    # A text with few bytes has few characters and needs no check.
    return f"""CASE WHEN strlen({raw}) <= {MAX_CHINESE_OR_JAPANESE_CHARACTERS} THEN {raw}
        WHEN 2 * length(regexp_replace({raw}, '[^{_CHINESE_OR_JAPANESE}]+', '', 'g')) >= length({raw})
        THEN left({raw}, {MAX_CHINESE_OR_JAPANESE_CHARACTERS}) ELSE left({raw}, {MAX_TEXT_CHARACTERS}) END"""
