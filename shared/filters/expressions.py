"""A filter as a tree of expressions, conditions and operands. Needs neither lark nor numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

#: Matches any event type, in quotes or not.
ANY = "*"


class FilterError(ValueError):
    """An invalid filter expression. The message gives the position and says what to change.

    AWS marks expressions as sensitive, so the message repeats names of columns and placeholders, and no value.
    """


class ValueKind(StrEnum):
    """The kind of value that a condition compares."""

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
    """A position in the text; both numbers count from 1."""

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
    """A column of the request's item. In a checked filter ``categorical`` is that of its field."""

    column: str
    categorical: bool = False


Operand = str | float | Placeholder | CurrentItem


@dataclass(frozen=True, kw_only=True)
class Condition:
    """``<dataset>.<column> <operator> <operands>``; one operand where numbers are compared.

    A parsed filter has the names as written. A checked filter has the schema's ``dataset`` and ``column``, and the
    ``kind``, ``categorical`` and ``single`` of the schema's field.
    """

    dataset: str
    column: str
    operator: Operator
    operands: tuple[Operand, ...]
    kind: ValueKind = ValueKind.TEXT
    categorical: bool = False
    """A cell of the column may hold several values, separated by bars."""
    single: bool = False
    """The column is stored as float32: 9.99 is compared as the nearest float32."""
    place: TextPosition = field(default=TextPosition(1, 1), compare=False)

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        return tuple(operand.name for operand in self.operands if isinstance(operand, Placeholder))

    @cached_property
    def current_item_columns(self) -> tuple[str, ...]:
        return tuple(operand.column for operand in self.operands if isinstance(operand, CurrentItem))

    @cached_property
    def fixed(self) -> bool:
        """Checked filters: true if the condition holds for the same rows at every request."""
        return self.kind is not ValueKind.EVENT_TYPE and not self.placeholders and not self.current_item_columns


@dataclass(frozen=True, kw_only=True)
class Expression:
    """INCLUDE or EXCLUDE the rows of ``target`` for which all conditions of any of ``groups`` hold.

    Where ``user`` does not hold, the filter acts as if it lacked the expression.
    """

    include: bool
    target: str
    groups: tuple[tuple[Condition, ...], ...]
    user: tuple[Condition, ...] = ()
    """The conditions after IF."""
    place: TextPosition = field(default=TextPosition(1, 1), compare=False)

    @property
    def conditions(self) -> Iterator[Condition]:
        for group in self.groups:
            yield from group
        yield from self.user

    @cached_property
    def lists_events(self) -> bool:
        """Checked filters: true if the conditions only ask for rows that the user has certain events with."""
        return all(
            len(group) == 1
            and group[0].kind is ValueKind.EVENT_TYPE
            and group[0].operator in (Operator.IN, Operator.EQUAL)
            for group in self.groups
        )


@dataclass(frozen=True)
class Filter:
    """A filter: the union of the included rows (or all rows) without the union of the excluded rows."""

    expressions: tuple[Expression, ...]

    @property
    def conditions(self) -> Iterator[Condition]:
        for expression in self.expressions:
            yield from expression.conditions

    @property
    def tested(self) -> Iterator[Condition]:
        """The conditions on the filtered rows: all but those after IF."""
        for expression in self.expressions:
            for group in expression.groups:
                yield from group

    @property
    def target(self) -> str:
        """Checked filters: the dataset type of the filtered rows: ITEMS, USERS or ACTIONS."""
        return self.expressions[0].target

    @cached_property
    def columns(self) -> frozenset[str]:
        """Checked filters: the distinct columns, which AWS counts, such as "ITEMS.PRICE"."""
        of_conditions = {f"{each.dataset}.{each.column}" for each in self.conditions}
        of_seeds = {f"ITEMS.{column}" for each in self.conditions for column in each.current_item_columns}
        return frozenset(of_conditions | of_seeds)

    @cached_property
    def placeholders(self) -> Mapping[str, frozenset[ValueKind]]:
        """Checked filters: the names without $, each with the kinds of value that it stands for."""
        found: dict[str, frozenset[ValueKind]] = {}
        for condition in self.conditions:
            for name in condition.placeholders:
                found[name] = found.get(name, frozenset()) | {condition.kind}
        return found

    @cached_property
    def tests_events(self) -> bool:
        """Checked filters: true if a condition compares event types."""
        return any(condition.kind is ValueKind.EVENT_TYPE for condition in self.conditions)

    @cached_property
    def tests_columns(self) -> bool:
        """Checked filters: true if a condition compares columns of the filtered rows."""
        return any(condition.kind is not ValueKind.EVENT_TYPE for condition in self.tested)

    @cached_property
    def excludes_events(self) -> bool:
        """Checked filters: true if event types serve only to exclude rows."""
        by_events = [
            each.include
            for each in self.expressions
            if any(condition.kind is ValueKind.EVENT_TYPE for condition in each.conditions)
        ]
        return bool(by_events) and not any(by_events)

    @cached_property
    def needs_user(self) -> bool:
        """Checked filters: true if a request needs a user id. (A segment's users are the rows themselves.)"""
        asks_for_events = self.target != "USERS" and self.tests_events
        return asks_for_events or bool(self.user_columns)

    @cached_property
    def current_item_columns(self) -> frozenset[str]:
        """The columns of the request's item."""
        return frozenset(column for condition in self.conditions for column in condition.current_item_columns)

    @cached_property
    def user_columns(self) -> frozenset[str]:
        """The columns of the request's user."""
        return frozenset(condition.column for expression in self.expressions for condition in expression.user)

    @property
    def needs_current_item(self) -> bool:
        return bool(self.current_item_columns)
