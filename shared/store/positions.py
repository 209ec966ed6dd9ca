"""Positions of live events in the order of their arrival: "<milliseconds>-<number>", as Redis streams spell them."""

from __future__ import annotations


def parse_position(position: str) -> tuple[int, int]:
    """Return a position as numbers, which compare in the order of arrival."""
    milliseconds, _, number = position.partition("-")
    return int(milliseconds), int(number)


def get_next_position(position: str) -> str:
    """Return the first position after another one."""
    milliseconds, number = parse_position(position)
    return f"{milliseconds}-{number + 1}"


def get_arrival(position: str) -> float:
    """Return when an event arrived, by the store's clock (epoch seconds)."""
    return parse_position(position)[0] / 1000
