"""The moment at which a recommendation is requested: one rule for training, validation, evaluation and serving.

    within a visit    the time of the user's previous event, since nothing is known yet of the event to predict
    at a new visit    the time at which the visit begins, which is the time of its first event

A visit is new after SESSION_SECONDS without an event. So the event to predict tells the model only the time at which a
visit began, where it is the first of that visit; and a request in the middle of a visit is answered as if it came right
after the last event. Needs no torch.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

SESSION_SECONDS = 30 * 60
"""A visit ends after this time without an event."""

Answer = TypeVar("Answer", covariant=True)


class Seconds(Protocol[Answer]):
    """A number, or an array or tensor of numbers; a comparison gives a bool, or an array or tensor of bools."""

    def __ge__(self, least: float, /) -> Answer: ...


def is_new_visit(gap: Seconds[Answer]) -> Answer:
    """Return whether an event or request begins a visit, ``gap`` seconds after the user's previous event."""
    return gap >= SESSION_SECONDS


def resolve_request_time(before: float, at: float) -> float:
    """Return the moment of a request at ``at`` by a user with the last event at ``before``; both in seconds."""
    return at if is_new_visit(at - before) else before
