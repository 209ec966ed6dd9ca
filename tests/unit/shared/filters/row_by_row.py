"""A filter that looks at one row after another: written from AWS's rules alone, to compare the real one with."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.unit.shared.filters.tables import Row

COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CATEGORICAL = ("GENRE", "GENDER")


@dataclass(frozen=True)
class Given:
    """A placeholder."""

    name: str


@dataclass(frozen=True)
class Seed:
    """A column of the current item."""

    column: str


@dataclass(frozen=True)
class Check:
    """One condition."""

    dataset: str
    column: str
    operator: str
    operands: tuple[str | float | Given | Seed, ...]


@dataclass(frozen=True)
class Part:
    """One expression."""

    include: bool
    groups: tuple[tuple[Check, ...], ...]
    user: tuple[Check, ...]


@dataclass(frozen=True)
class World:
    """All that a filter may look at; ``events`` has numbers of rows."""

    rows: tuple[Row | None, ...]
    values: Mapping[str, list[str] | float]
    user: Row
    events: Mapping[str, frozenset[int]]
    current_item: Row


def written(parts: Sequence[Part]) -> str:
    """The expression that CreateFilter would be given."""
    return " | ".join(map(_written_part, parts))


def _written_part(part: Part) -> str:
    conditions = " OR ".join(" AND ".join(map(_written_check, group)) for group in part.groups)
    behind_if = " IF " + " AND ".join(map(_written_check, part.user)) if part.user else ""
    return f"{'INCLUDE' if part.include else 'EXCLUDE'} ItemID WHERE {conditions}{behind_if}"


def _written_check(check: Check) -> str:
    operands = ", ".join(map(_written_operand, check.operands))
    in_brackets = check.operator in ("IN", "NOT IN") and not isinstance(check.operands[0], Seed)
    return f"{check.dataset}.{check.column} {check.operator} {f'({operands})' if in_brackets else operands}"


def _written_operand(operand: str | float | Given | Seed) -> str:
    match operand:
        case Given(name):
            return f"${name}"
        case Seed(column):
            return f"CurrentItem.{column}"
        case str():
            return f'"{operand}"'
        case _:
            return str(operand)


def let_through(parts: Sequence[Part], world: World) -> list[bool] | None:
    """For each row; None: refused, since a value is missing."""
    if any(part.include and _missing([*_checks(part), *part.user], world) for part in parts):
        return None
    used = [
        part
        for part in parts
        if not _missing(part.user, world) and all(_of_row(each, world.user, world) for each in part.user)
    ]
    includes = [part for part in used if part.include]
    excludes = [part for part in used if not part.include]
    return [
        (not includes or any(_matches(part, number, world) for part in includes))
        and not any(_matches(part, number, world) for part in excludes)
        for number in range(len(world.rows))
    ]


def _checks(part: Part) -> list[Check]:
    return [check for group in part.groups for check in group]


def _missing(checks: Sequence[Check], world: World) -> bool:
    asked = {each.name for check in checks for each in check.operands if isinstance(each, Given)}
    return not asked <= world.values.keys()


def _matches(part: Part, number: int, world: World) -> bool:
    """What has no value to be compared with is not there, and so is a group of nothing."""
    for group in part.groups:
        answers = [_of_item(check, number, world) for check in group if _wanted(check, world) is not None]
        if answers and all(answers):
            return True
    return False


def _of_item(check: Check, number: int, world: World) -> bool:
    if check.dataset == "Interactions":
        wanted = [str(each).lower() for each in _wanted(check, world) or ()]
        types = [event_type.lower() for event_type, rows in world.events.items() if number in rows]
        return any(each in wanted or "*" in wanted for each in types) == (check.operator == "IN")
    row = world.rows[number]
    return row is not None and _of_row(check, row, world)


def _of_row(check: Check, row: Row, world: World) -> bool:
    wanted, has = _wanted(check, world) or [], _split(check.column, row.get(check.column))
    if check.column in ("PRICE", "YEAR", "AGE"):
        if not has or not wanted:
            return check.operator == "!="
        return bool(COMPARISONS[check.operator](has[0], wanted[0]))
    return any(each in wanted for each in has) == (check.operator in ("IN", "="))


def _wanted(check: Check, world: World) -> list[Any] | None:
    """None: all that it is compared with are placeholders without a value."""
    found: list[Any] = []
    there = False
    for operand in check.operands:
        match operand:
            case Given(name):
                if name not in world.values:
                    continue
                value = world.values[name]
                found += value if isinstance(value, list) else [value]
            case Seed(column):
                found += _split(column, world.current_item.get(column))
            case _:
                found.append(operand)
        there = True
    return found if there else None


def _split(column: str, value: Any) -> list[Any]:
    if value is None:
        return []
    return value.split("|") if column in CATEGORICAL else [value]
