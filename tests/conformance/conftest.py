"""One system for the conformance run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.wire import Wire
from tests.conformance.world import World
from tests.conftest import start_system, stop_system


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    system = start_system(tmp_path_factory.mktemp("conformance"))
    try:
        yield World(system, Wire(system.environment))
    finally:
        stop_system(system)
