"""Requests that wait at one moment share a pass over the vectors: who goes when, and with the answer of one alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from shared.recipes.distribution import find_best_items
from shared.recipes.hrnn.serving.shared_pass import BLOCK, CHUNK, MOST, Floats, SharedPasses
from tests.conftest import until

HIDDEN = 24
RNG = np.random.default_rng(0)


class Watched(SharedPasses):
    """It notes how many went together."""

    def __init__(self, items: int, cores: int) -> None:
        vectors_IH = 0.1 * RNG.standard_normal((items, HIDDEN), np.float32)
        super().__init__(vectors_IH, 0.1 * RNG.standard_normal(items, np.float32), cores)
        self.went: list[int] = []

    def compute_alone(self, q_H: Floats) -> Floats:
        self.went.append(1)
        return super().compute_alone(q_H)

    def compute_together(self, queries: Sequence[Floats], logits: Sequence[Floats]) -> None:
        self.went.append(len(queries))
        super().compute_together(queries, logits)


def queries(count: int) -> list[Floats]:
    return list(RNG.standard_normal((count, HIDDEN), np.float32))


def softmax(logits_I: Floats) -> Floats:
    raised_I = np.exp(logits_I - logits_I.max())
    scores_I: Floats = raised_I / raised_I.sum()
    return scores_I


def waiting(passes: SharedPasses, pool: ThreadPoolExecutor, asked: Sequence[Floats]) -> list[Future[Floats]]:
    """They wait, in this order: all cores are taken."""
    answers = []
    for place, q_H in enumerate(asked):
        answers.append(pool.submit(passes.compute_logits, q_H))
        until(lambda place=place: len(passes._waiting) == place + 1)  # type: ignore[misc]
    return answers


@pytest.mark.parametrize("items", [1, 3, BLOCK, 1000, CHUNK - 1, CHUNK, 3 * CHUNK + 2 * BLOCK + 5])
@pytest.mark.parametrize("count", range(2, MOST + 1))
def test_an_answer_is_that_of_a_request_alone(items: int, count: int) -> None:
    passes, asked = Watched(items, 1), queries(count)
    together = [np.empty(items, np.float32) for _ in asked]
    passes.compute_together(asked, together)
    for q_H, logits_I in zip(asked, together, strict=True):
        scores_I, alone_I = softmax(logits_I), softmax(passes.compute_alone(q_H))
        np.testing.assert_allclose(scores_I, alone_I, rtol=5e-6)
        assert find_best_items(scores_I, 25).tolist() == find_best_items(alone_I, 25).tolist()


def test_who_comes_first_goes_alone() -> None:
    passes, [q_H] = Watched(50, 1), queries(1)
    for _ in range(3):
        np.testing.assert_array_equal(passes.compute_logits(q_H), passes._vectors_IH @ q_H + passes._bias_I)
    assert passes.went == [1, 1, 1]


@pytest.mark.parametrize(
    ("count", "went"), [(1, [1]), (2, [2]), (MOST, [MOST]), (2 * MOST + 1, [MOST, MOST, 1])], ids=str
)
def test_those_who_wait_go_together(count: int, went: list[int]) -> None:
    passes, asked = Watched(700, cores=0), queries(count)
    with ThreadPoolExecutor(count) as pool:
        answers = waiting(passes, pool, asked)
        passes._end_pass()
        together = [softmax(answer.result(10)) for answer in answers]
    assert passes.went == went
    np.testing.assert_allclose(together, [softmax(passes.compute_alone(q_H)) for q_H in asked], rtol=5e-6)
    until(lambda: passes._free == 1)


def test_what_breaks_breaks_for_one_alone() -> None:
    passes, asked = Watched(700, cores=0), queries(3)
    asked[1] = np.zeros(HIDDEN + 1, np.float32)
    with ThreadPoolExecutor(3) as pool:
        answers = waiting(passes, pool, asked)
        passes._end_pass()
        for place in (0, 2):
            np.testing.assert_array_equal(answers[place].result(10), passes.compute_alone(asked[place]))
        with pytest.raises(ValueError, match="mismatch"):
            answers[1].result(10)
    until(lambda: passes._free == 1)


def test_a_pass_that_finds_no_memory_is_made_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, asked = Watched(700, cores=0), queries(3)

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(passes, "compute_together", broken)
    with ThreadPoolExecutor(3) as pool:
        answers = waiting(passes, pool, asked)
        passes._end_pass()
        for q_H, answer in zip(asked, answers, strict=True):
            np.testing.assert_array_equal(answer.result(10), passes.compute_alone(q_H))
    until(lambda: passes._free == 1)


@pytest.mark.parametrize("cores", [1, 2])
def test_many_threads_are_each_answered_their_own(cores: int) -> None:
    passes, asked, together = Watched(5000, cores), queries(40), threading.Barrier(8)
    alone = [softmax(passes.compute_alone(q_H)) for q_H in asked]

    def ask(first: int) -> None:
        together.wait(10)
        for number in range(first, first + 100):
            scores_I = softmax(passes.compute_logits(asked[number % 40]))
            np.testing.assert_allclose(scores_I, alone[number % 40], rtol=5e-6)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, first) for first in range(8)]:
            done.result(30)
    assert (passes._free, passes._waiting) == (cores, [])
