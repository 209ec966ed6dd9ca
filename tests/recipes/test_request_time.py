"""One rule says when a recommendation is asked for, of numbers, arrays and tensors alike."""

from __future__ import annotations

import numpy as np
import torch

from shared.recipes.request_time import SESSION_SECONDS, asked_at, begins_visit


def test_a_visit_ends_with_half_an_hour_of_silence() -> None:
    gaps = [-5, 0, SESSION_SECONDS - 1, SESSION_SECONDS, 10**9]
    expected = [False, False, False, True, True]
    assert [begins_visit(gap) for gap in gaps] == expected
    assert begins_visit(np.array(gaps)).tolist() == expected
    assert begins_visit(torch.tensor(gaps)).tolist() == expected
    assert begins_visit(SESSION_SECONDS - 0.5) is False


def test_within_a_visit_it_is_asked_at_the_event_before_and_else_when_the_user_is_back() -> None:
    assert asked_at(100.0, 100.0 + SESSION_SECONDS - 1) == 100.0
    assert asked_at(100.0, 100.0 + SESSION_SECONDS) == 100.0 + SESSION_SECONDS
    assert asked_at(100.0, 50.0) == 100.0
