"""A filter as a tree: expressions, their conditions, and what conditions compare with. No lark, no numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

#: In the place of an event type: any. In quotes or not.
ANY = "*"


class FilterError(ValueError):
    """An expression that can't be a filter. The message names the place and says what to change.

    AWS marks expressions as sensitive: it repeats names of columns and placeholders, and no value.
    """


class ValueKind(StrEnum):
    """What a condition compares."""

    TEXT = "text"
    NUMBER = "number"
    EVENT_TYPE = "event type"


class Operator(StrEnum):
    IN = "IN"
    NOT_IN = "NOT IN"
    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="

    @property
    def ordering(self) -> bool:
        return self in (Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST)


@dataclass(frozen=True)
class TextPosition:
    """Where in the text, both counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Placeholder:
    """``$name``: its value comes with the request."""

    name: str


@dataclass(frozen=True)
class CurrentItem:
    """A column of the item to which others are sought. As checked, ``categorical`` is its field's."""

    column: str
    categorical: bool = False


Operand = str | float | Placeholder | CurrentItem


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``<dataset>.<column> <operator> <operands>``; one operand where numbers are compared.

    As parsed, names stand as they were written. As checked, ``dataset`` and ``column`` are the schema's, ``kind``,
    ``categorical`` and ``single`` follow from its field.
    """

    dataset: str
    column: str
    operator: Operator
    operands: tuple[Operand, ...]
    kind: ValueKind = ValueKind.TEXT
    categorical: bool = False
    """A value of the column may be several, separated by bars."""
    single: bool = False
    """The column is kept as float32: 9.99 is compared as what the nearest of these is."""
    place: TextPosition = field(default=TextPosition(1, 1), compare=False)

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(operand.name for operand in self.operands if isinstance(operand, Placeholder))

    @cached_property
    def current_item_columns(self) -> tuple[str, ...]:
        return tuple(operand.column for operand in self.operands if isinstance(operand, CurrentItem))

    @cached_property
    def fixed(self) -> bool:
        """As checked: holds for the same rows whatever is asked for and by whom."""
        return self.kind is not ValueKind.EVENT_TYPE and not self.placeholders and not self.current_item_columns


@dataclass(frozen=True, kw_only=True)
class Expression:
    """INCLUDE or EXCLUDE the rows of ``target`` for which all conditions of any of ``groups`` hold.

    Where ``user`` does not hold, the expression is as if it were not written.
    """

    include: bool
    target: str
    groups: tuple[tuple[Condition, ...], ...]
    user: tuple[Condition, ...] = ()
    """What stands behind IF."""
    place: TextPosition = field(default=TextPosition(1, 1), compare=False)

    @property
    def conditions(self) -> Iterator[Condition]:
        for group in self.groups:
            yield from group
        yield from self.user

    @cached_property
    def lists_events(self) -> bool:
        """As checked: it is of all rows that the user has one of some events with."""
        return all(
            len(group) == 1
            and group[0].kind is ValueKind.EVENT_TYPE
            and group[0].operator in (Operator.IN, Operator.EQUAL)
            for group in self.groups
        )


@dataclass(frozen=True)
class Filter:
    """(the union of what is included, or everything) less (the union of what is excluded)."""

    expressions: tuple[Expression, ...]

    @property
    def conditions(self) -> Iterator[Condition]:
        for expression in self.expressions:
            yield from expression.conditions

    @property
    def tested(self) -> Iterator[Condition]:
        """Those of the rows that are filtered: without what stands behind IF."""
        for expression in self.expressions:
            for group in expression.groups:
                yield from group

    @property
    def target(self) -> str:
        """As checked: the dataset type whose rows are let through or not: ITEMS, USERS or ACTIONS."""
        return self.expressions[0].target

    @cached_property
    def columns(self) -> frozenset[str]:
        """As checked: the distinct columns, which AWS counts: "ITEMS.PRICE"."""
        of_conditions = {f"{each.dataset}.{each.column}" for each in self.conditions}
        of_seeds = {f"ITEMS.{column}" for each in self.conditions for column in each.current_item_columns}
        return frozenset(of_conditions | of_seeds)

    @cached_property
    def placeholders(self) -> Mapping[str, frozenset[ValueKind]]:
        """As checked: the names without $, each with the kinds of value that it stands for."""
        found: dict[str, frozenset[ValueKind]] = {}
        for condition in self.conditions:
            for name in condition.placeholders:
                found[name] = found.get(name, frozenset()) | {condition.kind}
        return found

    @cached_property
    def tests_events(self) -> bool:
        """As checked."""
        return any(condition.kind is ValueKind.EVENT_TYPE for condition in self.conditions)

    @cached_property
    def excludes_events(self) -> bool:
        """As checked: hides what the user has some events with, and asks for nothing by events."""
        by_events = [
            each.include
            for each in self.expressions
            if any(condition.kind is ValueKind.EVENT_TYPE for condition in each.conditions)
        ]
        return bool(by_events) and not any(by_events)

    @cached_property
    def needs_user(self) -> bool:
        """As checked: says nothing without a user id. (A segment's users are the rows themselves.)"""
        asks_for_events = self.target != "USERS" and self.tests_events
        return asks_for_events or bool(self.user_columns)

    @cached_property
    def current_item_columns(self) -> frozenset[str]:
        """Of the item to which others are sought."""
        return frozenset(column for condition in self.conditions for column in condition.current_item_columns)

    @cached_property
    def user_columns(self) -> frozenset[str]:
        """Of the user who is asked for."""
        return frozenset(condition.column for expression in self.expressions for condition in expression.user)

    @property
    def needs_current_item(self) -> bool:
        return bool(self.current_item_columns)
