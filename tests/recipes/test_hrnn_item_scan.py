"""Estimates of 8 bits, and what makes the best of them exact: the same answers as the vectors themselves give."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.recipes.distribution import compute_exact_scores, find_best_items
from shared.recipes.hrnn.serving import int8_products, item_scan, shared_pass
from shared.recipes.hrnn.serving.file_rows import FileRows
from shared.recipes.hrnn.serving.item_scan import QuantizedScan
from shared.recipes.hrnn.serving.shared_pass import Floats, SharedPasses
from shared.recipes.scoring_api import ApproximateScores
from shared.serving.pipeline import find_best_allowed

ITEMS, HIDDEN = 9_001, 149
NONE = np.zeros(0, np.int64)
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Of which the last is not full. And each test has its numbers, whatever ran before it."""
    global RNG
    RNG = np.random.default_rng(seed)
    monkeypatch.setattr(item_scan, "CHUNK", 4096)
    monkeypatch.setattr(shared_pass, "SCANNED", 1000)


@pytest.fixture
def seed() -> int:
    return 0


def normal(*shape: int) -> Floats:
    return RNG.standard_normal(shape, np.float32)


def clustered() -> Floats:
    return normal(20, HIDDEN)[RNG.integers(0, 20, ITEMS)] + 0.01 * normal(ITEMS, HIDDEN)


def tied() -> Floats:
    """Each vector is there some thirty times."""
    return normal(300, HIDDEN)[RNG.integers(0, 300, ITEMS)]


def extreme() -> Floats:
    """Of all lengths, and some of none."""
    vectors_IH = normal(ITEMS, HIDDEN) * np.exp(3 * normal(ITEMS, 1))
    vectors_IH[RNG.integers(0, ITEMS, 50)] = 0
    vectors_IH[7] = 1e-39
    vectors_IH[8] *= np.float32(1e3) / np.abs(vectors_IH[8]).max()
    return vectors_IH.astype(np.float32)


def sparse() -> Floats:
    """One number of each is larger than all others together."""
    vectors_IH = 0.01 * normal(ITEMS, HIDDEN)
    vectors_IH[np.arange(ITEMS), RNG.integers(0, HIDDEN, ITEMS)] = 3 * normal(ITEMS)
    return vectors_IH


KINDS: list[Callable[[], Floats]] = [lambda: normal(ITEMS, HIDDEN), clustered, tied, extreme, sparse]


def of(vectors_IH: Floats, bias_I: Floats, q_H: Floats) -> tuple[Floats, ApproximateScores, Floats]:
    """The scores and what tells of them, and the logits to the last bit."""
    over = SharedPasses(vectors_IH, bias_I, 1)
    logits_I = over.compute_logits(q_H)
    rough = over.create_error_bounds(q_H, NONE)
    assert rough is not None
    rough.settle_best(logits_I, 25)
    return softmax(logits_I), rough, brute(vectors_IH, bias_I, q_H)


def brute(vectors_IH: Floats, bias_I: Floats, q_H: Floats) -> npt.NDArray[np.float64]:
    return np.einsum("ih,h->i", vectors_IH, q_H.astype(np.float64)) + bias_I


def softmax(logits_I: npt.NDArray[np.floating]) -> Floats:
    raised_I = np.exp(logits_I - logits_I.max())
    return (raised_I / raised_I.sum()).astype(np.float32)


def ranked(logits_I: npt.NDArray[np.float64], count: int, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    (places,) = allowed.nonzero()
    return places[(-logits_I[places]).argsort(kind="stable")[:count]]


def same(found: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], logits_I: npt.NDArray[np.float64]) -> None:
    """The same items; those whose scores float32 doesn't tell apart may change places, unless they are equal."""
    assert len(found) == len(wanted) == len(set(found.tolist()))
    apart = np.abs(logits_I[found] - logits_I[wanted])
    assert (apart <= 1e-6 * (1 + np.abs(logits_I[wanted]))).all()
    (differ,) = (found != wanted).nonzero()
    assert (apart[differ] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0.02, 0.3, 1.0])
def test_no_estimate_is_further_off_than_its_bound(kind: Callable[[], Floats], length: float) -> None:
    vectors_IH, bias_I, q_H = kind(), normal(ITEMS), length * normal(HIDDEN)
    over = QuantizedScan(vectors_IH, bias_I)
    [logits_I] = logits = [np.empty(ITEMS, np.float32)]
    over.estimate_logits([q_H], logits)
    rough, places_I = over.create_error_bounds(q_H, NONE), np.arange(ITEMS)
    off_I = brute(vectors_IH, bias_I, q_H) - logits_I
    bounds_I = rough.get_bounds(places_I)
    assert (np.abs(off_I) <= bounds_I + 3e-7 * np.abs(logits_I)).all()
    assert bounds_I.max() <= rough.greatest_bound
    np.testing.assert_allclose(rough.compute_corrections(places_I), off_I, atol=1e-5 + 1e-6 * np.abs(logits_I).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 25, 500])
def test_the_best_are_those_of_the_vectors_themselves(kind: Callable[[], Floats], count: int) -> None:
    vectors_IH, bias_I = kind(), 0.1 * normal(ITEMS)
    if kind is tied:
        bias_I[:] = 0.1
    for q_H in 0.3 * normal(5, HIDDEN):
        scores_I, rough, logits_I = of(vectors_IH, bias_I, q_H)
        possible = scores_I > 0
        wanted = ranked(logits_I, count, possible)
        same(find_best_items(scores_I, count, 0.0, rough)[: len(wanted)], wanted, logits_I)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.9, 0.1, 0.005])
def test_so_they_are_of_what_a_filter_leaves(kind: Callable[[], Floats], share: float) -> None:
    vectors_IH, bias_I, q_H = kind(), 0.1 * normal(ITEMS), 0.1 * normal(HIDDEN)
    scores_I, rough, logits_I = of(vectors_IH, bias_I, q_H)
    allowed = RNG.random(ITEMS) < share
    wanted = ranked(logits_I, 25, allowed & (scores_I > 0))
    same(find_best_allowed(scores_I, 25, allowed, rough)[: len(wanted)], wanted, logits_I)
    promoted = RNG.random(ITEMS) < 0.01
    wanted = ranked(logits_I, 5, promoted & (scores_I > 0))
    same(find_best_allowed(scores_I, 5, promoted, rough)[: len(wanted)], wanted, logits_I)
    assert find_best_allowed(scores_I, 25, np.zeros(ITEMS, np.bool_), rough).tolist() == []


@pytest.mark.parametrize(("kind", "near"), [(KINDS[0], 2e-3), (sparse, 2e-3), (clustered, 1e-2), (tied, 1e-2)])
def test_scores_are_near(kind: Callable[[], Floats], near: float) -> None:
    """Their sum is an estimate. Where the same vector is there many times its error is, too."""
    vectors_IH, bias_I = kind(), 0.1 * normal(ITEMS)
    for q_H in 0.2 * normal(5, HIDDEN):
        scores_I, rough, logits_I = of(vectors_IH, bias_I, q_H)
        wanted_I = softmax(logits_I)
        listed = find_best_items(scores_I, 500, 0.0, rough)
        np.testing.assert_allclose(compute_exact_scores(scores_I, listed, rough), wanted_I[listed], rtol=near)
        assert scores_I.sum() == pytest.approx(1, abs=1e-4)


def test_what_is_added_and_what_is_taken_out_stays() -> None:
    vectors_IH, bias_I, q_H = normal(ITEMS, HIDDEN), normal(ITEMS), 0.2 * normal(HIDDEN)
    over = SharedPasses(vectors_IH, bias_I, 1)
    had, near = np.array([5, 3, 8000]), RNG.permutation(ITEMS)[:1000]
    wanted_I = brute(vectors_IH, bias_I, q_H)
    logits_I, rough = over.compute_logits(q_H), over.create_error_bounds(q_H, had)
    assert rough is not None
    for each_I in (logits_I, wanted_I):
        each_I[near] += np.float32(1.5)
        each_I[had] = -np.inf
    rough.settle_best(logits_I, 25)
    same(find_best_items(logits_I, 25), ranked(wanted_I, 25, wanted_I > -np.inf), wanted_I)
    scores_I = softmax(logits_I)
    scores_I[had] = [4, 3, 2]
    assert find_best_items(scores_I, 3, 0.0, rough).tolist() == had.tolist()
    assert compute_exact_scores(scores_I, had, rough).tolist() == [4, 3, 2]
    assert rough.get_bounds(had).tolist() == rough.compute_corrections(had).tolist() == [0, 0, 0]


def test_processors_that_add_in_16_bits_are_asked_by_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate is off by more then, and no answer is another one."""
    monkeypatch.setattr(item_scan, "find_query_range", lambda: 63)
    vectors_IH, bias_I = normal(ITEMS, HIDDEN), normal(ITEMS)
    for q_H in 0.2 * normal(5, HIDDEN):
        scores_I, rough, logits_I = of(vectors_IH, bias_I, q_H)
        wanted = ranked(logits_I, 25, np.ones(ITEMS, np.bool_))
        same(find_best_items(scores_I, 25, 0.0, rough), wanted, logits_I)
        np.testing.assert_allclose(compute_exact_scores(scores_I, wanted, rough), softmax(logits_I)[wanted], rtol=2e-3)


@pytest.mark.parametrize("zero", [128, 64])
@pytest.mark.parametrize(("items", "hidden"), [(1, 1), (3, 149), (130, 64), (4097, 43)])
def test_products_are_those_of_whole_numbers(items: int, hidden: int, zero: int) -> None:
    codes_CH = RNG.integers(-127, 128, (items, hidden)).astype(np.int8)
    steps_BH = RNG.integers(1 - zero, zero, (5, hidden))
    room = np.empty(5 * items + 3, np.int32)
    found = int8_products.Int8Products(codes_CH, zero).multiply_queries((steps_BH + zero).astype(np.uint8), room)
    np.testing.assert_array_equal(found, steps_BH @ codes_CH.T.astype(np.int64))


def test_threads_share_it() -> None:
    over = SharedPasses(normal(ITEMS, HIDDEN), normal(ITEMS), 2)
    asked = list(0.2 * normal(16, HIDDEN))
    alone = [over.compute_alone(q_H) for q_H in asked]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for logits_I, alone_I in zip(pool.map(over.compute_logits, asked), alone, strict=True):
                np.testing.assert_array_equal(logits_I, alone_I)


def test_small_catalogues_are_not_scanned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_pass, "SCANNED", ITEMS + 1)
    vectors_IH, bias_I, q_H = normal(ITEMS, HIDDEN), normal(ITEMS), normal(HIDDEN)
    over = SharedPasses(vectors_IH, bias_I, 1)
    assert over.create_error_bounds(q_H, NONE) is None
    np.testing.assert_array_equal(over.compute_logits(q_H), vectors_IH @ q_H + bias_I)


@pytest.mark.parametrize("offset", [0, 8])
def test_rows_are_those_of_the_file(tmp_path: Path, offset: int) -> None:
    array_IH = normal(1000, 24)
    (tmp_path / "rows").write_bytes(b"x" * (offset + 40) + array_IH.tobytes())
    mapped = np.memmap(tmp_path / "rows", mode="r", offset=offset)
    rows = FileRows(np.asarray(mapped)[40:].view(np.float32).reshape(1000, 24)[3:-1])
    for places in (np.array([0]), np.array([995, 3, 3, 500], np.int32), NONE):
        np.testing.assert_array_equal(rows[places], array_IH[3:][places])
    rows.release_pages()
    (tmp_path / "rows").unlink()
    np.testing.assert_array_equal(rows[np.array([7])], array_IH[[10]])


def test_rows_may_be_in_memory() -> None:
    array_IH = normal(10, 4)
    rows = FileRows(array_IH)
    rows.release_pages()
    np.testing.assert_array_equal(rows[np.array([4, 4])], array_IH[[4, 4]])
