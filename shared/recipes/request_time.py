"""At which moment a recommendation is asked for: one rule for training, validation, evaluation and serving. No torch.

    within a visit    at the moment of the user's event before: nothing is known yet of the one to be foretold
    at a new visit    when it begins, which is when its first event is

A visit is new after SESSION_SECONDS without an event. So of the event to be foretold nothing enters but, where it is a
visit's first, when that visit began; and a client who asks in the midst of a visit is answered as one who asks right
after the last event.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

SESSION_SECONDS = 30 * 60
"""So long a silence ends a visit."""

Answer = TypeVar("Answer", covariant=True)


class Seconds(Protocol[Answer]):
    """A number, of which the answer is a bool, or an array or a tensor of them, of which it is one of bools."""

    def __ge__(self, least: float, /) -> Answer: ...


def is_new_visit(gap: Seconds[Answer]) -> Answer:
    """Does an event, or a request, so many seconds after the user's event before begin a new visit?"""
    return gap >= SESSION_SECONDS


def resolve_request_time(before: float, at: float) -> float:
    """When a recommendation is asked for whose user was last seen ``before`` and is back ``at``; seconds both."""
    return at if is_new_visit(at - before) else before
