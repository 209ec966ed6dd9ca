"""One system for the conformance run, and what the run says of itself at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.wire import Wire
from tests.conformance.world import World
from tests.conftest import start_system, stop_system

_wires: list[Wire] = []


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    system = start_system(tmp_path_factory.mktemp("conformance"))
    try:
        wire = Wire(system.environment)
        _wires.append(wire)
        yield World(system, wire)
    finally:
        stop_system(system)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for wire in _wires:
        counted = ", ".join(f"{count:,} {what}" for what, count in wire.counts.items())
        terminalreporter.write_line(f"conformance: {len(wire.operations)} operations, {counted}")
