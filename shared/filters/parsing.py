"""Parse text into a ``Filter`` by the grammar of grammar.lark; errors give the position and the expected words."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from shared.filters.expressions import (
    ANY,
    Condition,
    CurrentItem,
    Expression,
    Filter,
    FilterError,
    Operand,
    Operator,
    Placeholder,
    TextPosition,
)

MAX_PLACEHOLDER_CHARACTERS = 50  # of a name, as filterValues can give it

# Words for the terminals, in the order in which an error lists them.
_WORDS = {
    "ACTION": "INCLUDE or EXCLUDE",
    "TARGET": "ItemID, UserID or ActionID",
    "WHERE": "WHERE",
    "DATASET": "a dataset",
    "COLUMN": "a field",
    "DOT": "a dot",
    "NOT": "NOT",
    "IN": "IN",
    "COMPARISON": "a comparison (=, !=, <, <=, >, >=)",
    "LPAR": '"("',
    "NUMBER": "a number",
    "STRING": "a string in quotes",
    "PLACEHOLDER": "a placeholder as $NAME",
    "WORD": "a field of CurrentItem",
    "ANY": '"*"',
    "COMMA": "a comma",
    "RPAR": '")"',
    "AND": "AND",
    "OR": "OR",
    "IF": "IF",
    "VBAR": '"|"',
    "$END": "the end",
}


def parse_filter(text: str) -> Filter:
    """Parse the text of a filter expression. Raises FilterError."""
    return Filter(tuple(_parse_expression(child) for child in _get_trees(_parse_tree(text, "filter"))))


def parse_conditions(text: str) -> tuple[tuple[Condition, ...], ...]:
    """Parse conditions joined by AND and OR into the groups that OR separates. Raises FilterError."""
    return _parse_groups(_parse_tree(text, "conditions"))


def _parse_tree(text: str, start: str) -> Tree[Token]:
    try:
        return _get_parser().parse(text, start=start)
    except UnexpectedInput as error:
        raise FilterError(_describe_problem(error)) from None


@cache
def _get_parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", start=["filter", "conditions"])


def _describe_problem(error: UnexpectedInput) -> str:
    """Return an error message. It does not repeat the unexpected text, which may be a value."""
    parser: Any = error.interactive_parser
    accepted = parser.accepts()
    expected = ", or ".join(words for terminal, words in _WORDS.items() if terminal in accepted)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"Invalid Expression: it ends where there should be {expected}."
    place = TextPosition(error.line, error.column)
    if isinstance(error, UnexpectedCharacters) and error.char in "\"'":
        return f"Invalid Expression: the quote at {place} is not closed."
    return f"Invalid Expression: at {place} there should be {expected}."


def _parse_expression(tree: Tree[Token]) -> Expression:
    action, target, *_ = _get_tokens(tree)
    where, *behind_if = _get_trees(tree)
    return Expression(
        include=action.upper() == "INCLUDE",
        target=str(target),
        groups=_parse_groups(where),
        user=_parse_groups(behind_if[0])[0] if behind_if else (),
        place=_get_position(target),
    )


def _parse_groups(tree: Tree[Token]) -> tuple[tuple[Condition, ...], ...]:
    """Return the groups of conditions that OR separates."""
    groups: list[list[Condition]] = [[]]
    for child in tree.children:
        if isinstance(child, Tree):
            groups[-1].append(_parse_condition(child))
        elif child.type == "OR":
            groups.append([])
    return tuple(map(tuple, groups))


def _parse_condition(tree: Tree[Token]) -> Condition:
    attribute, *operands = _get_trees(tree)
    dataset, column = _get_tokens(attribute)
    operator = " ".join(token.upper() for token in _get_tokens(tree))
    return Condition(
        dataset=str(dataset),
        column=str(column),
        operator=Operator(operator),
        operands=tuple(map(_parse_operand, operands)),
        place=_get_position(dataset),
    )


def _parse_operand(tree: Tree[Token]) -> Operand:
    token, *column = _get_tokens(tree)
    match str(tree.data):
        case "placeholder":
            return _parse_placeholder(token)
        case "string":
            return str(token[1:-1])
        case "number":
            return _parse_number(token)
        case "any":
            return ANY
        case "reference" if token.upper() == "CURRENTITEM":
            return CurrentItem(str(column[0]))
        case "reference":
            raise FilterError(
                f"Invalid Expression: at {_get_position(token)}, a field is compared with another one. Compare it with "
                "a number, a string in quotes, a placeholder as $NAME, or a field of CurrentItem."
            )
        case _:
            raise FilterError(
                f"Invalid Expression: at {_get_position(token)} stands a word without quotes. Strings stand in quotes, "
                "and fields of type boolean can't be filtered on."
            )


def _parse_placeholder(token: Token) -> Placeholder:
    name = token[1:]
    if len(name) > MAX_PLACEHOLDER_CHARACTERS:
        raise FilterError(
            f"Invalid Expression: the placeholder at {_get_position(token)} has {len(name)} characters; at most "
            f"{MAX_PLACEHOLDER_CHARACTERS} are allowed."
        )
    return Placeholder(str(name))


def _parse_number(token: Token) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise FilterError(f"Invalid Expression: the number at {_get_position(token)} is too large.")
    return number


def _get_trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _get_tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _get_position(token: Token) -> TextPosition:
    return TextPosition(token.line or 1, token.column or 1)
