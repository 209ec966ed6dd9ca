"""One rule says when a recommendation is asked for, of numbers, arrays and tensors alike."""

from __future__ import annotations

import numpy as np
import torch

from shared.recipes.request_time import SESSION_SECONDS, is_new_visit, resolve_request_time


def test_a_visit_ends_with_half_an_hour_of_silence() -> None:
    gaps = [-5, 0, SESSION_SECONDS - 1, SESSION_SECONDS, 10**9]
    expected = [False, False, False, True, True]
    assert [is_new_visit(gap) for gap in gaps] == expected
    assert is_new_visit(np.array(gaps)).tolist() == expected
    assert is_new_visit(torch.tensor(gaps)).tolist() == expected
    assert is_new_visit(SESSION_SECONDS - 0.5) is False


def test_within_a_visit_it_is_asked_at_the_event_before_and_else_when_the_user_is_back() -> None:
    assert resolve_request_time(100.0, 100.0 + SESSION_SECONDS - 1) == 100.0
    assert resolve_request_time(100.0, 100.0 + SESSION_SECONDS) == 100.0 + SESSION_SECONDS
    assert resolve_request_time(100.0, 50.0) == 100.0
