"""The constraints of the service model, and AWS's messages for values that break them.

A constraint is a marshmallow validator. Its error carries a `Breach` instead of a text, because the message depends on
the number and the paths of all breaches in the request (`shared.aws.request_schemas` writes it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import regex  # type: ignore[import-untyped]
from marshmallow import ValidationError

MAX_SHOWN_CHARACTERS = 128  # characters of a refused value that a message repeats


@dataclass(frozen=True)
class Breach:
    """A value that breaks a constraint. `value` is the quoted text to show; empty if it must not be shown."""

    value: str
    rule: str

    def format_at(self, path: str) -> str:
        value = f"Value {self.value}" if self.value else "Value"
        return f"{value} at '{path}' failed to satisfy constraint: {self.rule}"


@dataclass(frozen=True)
class TypeMismatch:
    """JSON of another type than the model's, so that the request cannot be read at all."""

    text: str

    def format_at(self, path: str) -> str:
        return f"{self.text} at '{path}'" if path else self.text


NOT_NULL = Breach("null", "Member must not be null")


@dataclass(frozen=True)
class Constraint:
    """A rule for a value. `shown`: messages may repeat a refused value; never for sensitive ones, lists and maps."""

    rule: str
    holds: Callable[[Any], bool]
    shown: bool = True

    def __call__(self, value: Any) -> None:
        if not self.holds(value):
            raise ValidationError([Breach(format_value(value) if self.shown else "", self.rule)])


def format_value(value: Any) -> str:
    text = str(value)
    return f"'{text[:MAX_SHOWN_CHARACTERS]}…'" if len(text) > MAX_SHOWN_CHARACTERS else f"'{text}'"


def iter_string_constraints(metadata: dict[str, Any], *, shown: bool) -> Iterator[Constraint]:
    yield Constraint("Member must not contain the character U+0000", lambda text: "\0" not in text, shown)
    yield from iter_length_constraints(metadata, shown=shown)
    if enum := metadata.get("enum"):
        yield Constraint(
            f"Member must satisfy enum value set: [{', '.join(enum)}]", frozenset(enum).__contains__, shown
        )
    if pattern := metadata.get("pattern"):
        yield _build_pattern_constraint(pattern, metadata.get("max"), shown)


def iter_length_constraints(metadata: dict[str, Any], *, shown: bool) -> Iterator[Constraint]:
    """Yield the constraints on the length of a string (in code points), list or map."""
    if least := metadata.get("min"):
        yield Constraint(f"Member must have length greater than or equal to {least}", lambda v: len(v) >= least, shown)
    if (most := metadata.get("max")) is not None:
        yield Constraint(f"Member must have length less than or equal to {most}", lambda v: len(v) <= most, shown)


def iter_number_constraints(metadata: dict[str, Any], *, shown: bool) -> Iterator[Constraint]:
    if (least := metadata.get("min")) is not None:
        yield Constraint(f"Member must have value greater than or equal to {least}", lambda v: v >= least, shown)
    if (most := metadata.get("max")) is not None:
        yield Constraint(f"Member must have value less than or equal to {most}", lambda v: v <= most, shown)


def find_breaches(constraints: Sequence[Constraint], value: Any) -> list[Any]:
    """Return the breaches of a value; for places where marshmallow does not run the validators itself."""
    return [Breach(format_value(value) if c.shown else "", c.rule) for c in constraints if not c.holds(value)]


def _build_pattern_constraint(pattern: str, longest: int | None, shown: bool) -> Constraint:
    # Java's \d is ASCII but its \p{L} is not, and regex's flag would narrow both.
    compiled = regex.compile(pattern, flags=0 if r"\p{" in pattern else regex.ASCII)

    def holds(text: str) -> bool:
        # Some of AWS's patterns take cubic time. The length constraint refuses over-long text.
        if longest is not None and len(text) > longest:
            return True
        return compiled.fullmatch(text) is not None

    return Constraint(f"Member must satisfy regular expression pattern: {pattern}", holds, shown)
