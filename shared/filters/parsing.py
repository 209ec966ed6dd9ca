"""Text -> ``Filter``: the grammar of grammar.lark, with errors that say where and what was expected."""

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

# What may be expected, in the order of telling.
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


def parse(text: str) -> Filter:
    """Raises FilterError."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise FilterError(_problem(error)) from None
    return Filter(tuple(_expression(child) for child in _trees(tree)))


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", start="filter")


def _problem(error: UnexpectedInput) -> str:
    """What stands there is not repeated: it may be a value."""
    parser: Any = error.interactive_parser
    accepted = parser.accepts()
    expected = ", or ".join(words for terminal, words in _WORDS.items() if terminal in accepted)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"Invalid Expression: it ends where there should be {expected}."
    place = TextPosition(error.line, error.column)
    if isinstance(error, UnexpectedCharacters) and error.char in "\"'":
        return f"Invalid Expression: the quote at {place} is not closed."
    return f"Invalid Expression: at {place} there should be {expected}."


def _expression(tree: Tree[Token]) -> Expression:
    action, target, *_ = _tokens(tree)
    where, *behind_if = _trees(tree)
    return Expression(
        include=action.upper() == "INCLUDE",
        target=str(target),
        groups=_groups(where),
        user=_groups(behind_if[0])[0] if behind_if else (),
        place=_place(target),
    )


def _groups(tree: Tree[Token]) -> tuple[tuple[Condition, ...], ...]:
    """The conditions between one OR and the next."""
    groups: list[list[Condition]] = [[]]
    for child in tree.children:
        if isinstance(child, Tree):
            groups[-1].append(_condition(child))
        elif child.type == "OR":
            groups.append([])
    return tuple(map(tuple, groups))


def _condition(tree: Tree[Token]) -> Condition:
    attribute, *operands = _trees(tree)
    dataset, column = _tokens(attribute)
    operator = " ".join(token.upper() for token in _tokens(tree))
    return Condition(
        dataset=str(dataset),
        column=str(column),
        operator=Operator(operator),
        operands=tuple(map(_operand, operands)),
        place=_place(dataset),
    )


def _operand(tree: Tree[Token]) -> Operand:
    token, *column = _tokens(tree)
    match str(tree.data):
        case "placeholder":
            return _placeholder(token)
        case "string":
            return str(token[1:-1])
        case "number":
            return _number(token)
        case "any":
            return ANY
        case "reference" if token.upper() == "CURRENTITEM":
            return CurrentItem(str(column[0]))
        case "reference":
            raise FilterError(
                f"Invalid Expression: at {_place(token)}, a field is compared with another one. Compare it with a "
                "number, a string in quotes, a placeholder as $NAME, or a field of CurrentItem."
            )
        case _:
            raise FilterError(
                f"Invalid Expression: at {_place(token)} stands a word without quotes. Strings stand in quotes, and "
                "fields of type boolean can't be filtered on."
            )


def _placeholder(token: Token) -> Placeholder:
    name = token[1:]
    if len(name) > MAX_PLACEHOLDER_CHARACTERS:
        raise FilterError(
            f"Invalid Expression: the placeholder at {_place(token)} has {len(name)} characters; at most "
            f"{MAX_PLACEHOLDER_CHARACTERS} are allowed."
        )
    return Placeholder(str(name))


def _number(token: Token) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise FilterError(f"Invalid Expression: the number at {_place(token)} is too large.")
    return number


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Tree[Token]) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


def _place(token: Token) -> TextPosition:
    return TextPosition(token.line or 1, token.column or 1)
