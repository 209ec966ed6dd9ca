"""Data for solutions that weigh events."""

from __future__ import annotations

import pytest

from tests.unit.shared.resources.solution_requests import EVENT_TYPE, EVENT_VALUE, FIELDS
from tests.unit.shared.resources.standing import Standing


@pytest.fixture
def with_events(standing: Standing) -> Standing:
    standing.dataset("Interactions", [*FIELDS, EVENT_TYPE, EVENT_VALUE])
    return standing
