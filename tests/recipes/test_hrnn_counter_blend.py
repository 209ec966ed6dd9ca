"""The weights of the blend: found again where they are known, and never worse than the network's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn import counter_blend
from shared.recipes.hrnn.counter_blend import NewItemChoice, RepeatChoice, fit_weights

N, I = 3000, 12  # noqa: E741

NEW, AGAIN = len(NewItemChoice.network_weights), len(RepeatChoice.network_weights)


def of_new(theta: Tensor, queries: int = N) -> NewItemChoice:
    """One choice of each query by these weights, among the items that were not had."""
    torch.manual_seed(0)
    x, had = torch.randn(queries, NEW, I), torch.rand(queries, I) < 0.3
    p = torch.einsum("nfi,f->ni", x, theta).masked_fill(had, -torch.inf).softmax(1)
    return NewItemChoice(x, had, torch.arange(queries), torch.multinomial(p, 1)[:, 0], torch.ones(queries))


def of_again(theta: Tensor, queries: int = N) -> RepeatChoice:
    """One choice of each query by these weights, among two to six items."""
    torch.manual_seed(1)
    lengths = torch.randint(2, 7, (queries,))
    rows = torch.arange(queries).repeat_interleave(lengths)
    x = torch.randn(len(rows), AGAIN)
    a = x @ theta
    ends = lengths.cumsum(0)
    taken = [
        int(end - length + torch.multinomial(a[end - length : end].softmax(0), 1)[0])
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
    return RepeatChoice(x, rows, torch.tensor(taken), torch.ones(queries))


CHOICES = {"new": (of_new, NEW), "again": (of_again, AGAIN)}

each_choice = pytest.mark.parametrize("of", CHOICES)


def known(size: int) -> Tensor:
    return torch.tensor([0.7, 1.4, 0.5, -0.8, 0.0, 0.3, 1.1, -0.2, 0.6])[:size]


@each_choice
def test_known_weights_are_found_again(of: str) -> None:
    made, size = CHOICES[of]
    np.testing.assert_allclose(fit_weights(made(known(size))), known(size), atol=0.12)


@each_choice
@pytest.mark.parametrize("queries", [1, 7, 300])
def test_what_was_taken_is_never_less_likely_than_by_the_networks_own(of: str, queries: int) -> None:
    made, size = CHOICES[of]
    for seed in range(5):
        torch.manual_seed(seed)
        choice = made(3 * torch.randn(size), queries)
        found, own = (
            choice.compute_loss(torch.tensor(theta, dtype=torch.double))[0]
            for theta in (fit_weights(choice), choice.network_weights)
        )
        assert found <= own


@each_choice
def test_parts_that_are_far_too_large_do_no_harm(of: str) -> None:
    """A whole step of Newton's may lead far away: it is halved then, or not made."""
    made, size = CHOICES[of]
    choice = made(known(size), 50)
    for x in ("_x_NFI", "_x_SF"):
        if hasattr(choice, x):
            getattr(choice, x).mul_(200.0)
    found, own = (
        choice.compute_loss(torch.tensor(theta, dtype=torch.double))[0]
        for theta in (fit_weights(choice), choice.network_weights)
    )
    assert np.isfinite(fit_weights(choice)).all()
    assert found <= own


@each_choice
def test_where_nothing_was_taken_the_networks_own_weights_stay(of: str) -> None:
    made, size = CHOICES[of]
    choice = made(known(size), 1)
    nothing = torch.zeros(0, dtype=torch.long)
    if isinstance(choice, NewItemChoice):
        choice = NewItemChoice(
            torch.randn(3, NEW, I), torch.zeros(3, I, dtype=torch.bool), nothing, nothing, torch.zeros(0)
        )
    else:
        choice = RepeatChoice(torch.randn(3, AGAIN), torch.tensor([0, 0, 1]), nothing, torch.zeros(0))
    assert fit_weights(choice) == list(choice.network_weights)


@each_choice
def test_few_choices_are_drawn_to_the_networks_own(monkeypatch: pytest.MonkeyPatch, of: str) -> None:
    made, size = CHOICES[of]
    choice = made(known(size), 40)
    away = []
    for pull in (0.1, 10.0, 1e6):
        monkeypatch.setattr(counter_blend, "PULL", pull)
        away.append(float(np.linalg.norm(np.subtract(fit_weights(choice), choice.network_weights))))
    assert away[0] > away[1] > away[2]
    assert away[2] == pytest.approx(0.0, abs=1e-3)


@each_choice
def test_the_slopes_are_those_of_the_likelihood(of: str) -> None:
    made, size = CHOICES[of]
    choice, theta = made(known(size), 30), torch.randn(size, dtype=torch.double) * 0.3
    slope, curved = choice.compute_derivatives(choice.compute_loss(theta)[1])
    small = 1e-2 * torch.eye(size, dtype=torch.double)
    by_difference = [(choice.compute_loss(theta + d)[0] - choice.compute_loss(theta - d)[0]) / 0.02 for d in small]
    np.testing.assert_allclose(slope, by_difference, rtol=0.01, atol=0.02)
    of_slopes = [
        (
            choice.compute_derivatives(choice.compute_loss(theta + d)[1])[0]
            - choice.compute_derivatives(choice.compute_loss(theta - d)[1])[0]
        )
        / 0.02
        for d in small
    ]
    np.testing.assert_allclose(curved, torch.stack(of_slopes), rtol=0.02, atol=0.05)


@each_choice
def test_a_choice_that_counts_twice_is_two(of: str) -> None:
    if of == "new":
        x, had = torch.randn(4, NEW, I), torch.zeros(4, I, dtype=torch.bool)
        rows, items = torch.tensor([0, 1, 1, 3]), torch.tensor([2, 5, 7, 1])
        twice = NewItemChoice(x, had, rows, items, torch.tensor([2.0, 1.0, 1.0, 1.0]))
        two = NewItemChoice(x, had, rows[[0, 0, 1, 2, 3]], items[[0, 0, 1, 2, 3]], torch.ones(5))
        assert fit_weights(twice) == pytest.approx(fit_weights(two), abs=1e-4)
    else:
        x, rows, taken = torch.randn(6, AGAIN), torch.tensor([0, 0, 0, 2, 2, 2]), torch.tensor([1, 4])
        of_twice = RepeatChoice(x, rows, taken, torch.tensor([2.0, 1.0]))
        of_two = RepeatChoice(x, rows, taken[[0, 0, 1]], torch.ones(3))
        assert fit_weights(of_twice) == pytest.approx(fit_weights(of_two), abs=1e-4)
