"""The weights that gain the most: never less than where the search sets out, and no more than is sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn.blend_search import SCALES, DiscreteChoice, find_best_weights, is_significant
from shared.recipes.hrnn.counter_blend import NewItemChoice, RepeatShareChoice, compute_ndcg, fit_weights

K, I = 300, 60  # noqa: E741

F = len(NewItemChoice.network_weights)
DOT, LIKE = 0, 5


def of_new(theta: Sequence[float], *, seed: int = 0, fixed: int = 0, targets: int = K) -> NewItemChoice:
    """One choice of each query by these weights, among the items that were not had."""
    torch.manual_seed(seed)
    x, had = torch.randn(targets, F, I), torch.rand(targets, I) < 0.2
    p = torch.einsum("nfi,f->ni", x, torch.tensor(theta)).masked_fill(had, -torch.inf).softmax(1)
    return NewItemChoice(x, had, torch.arange(targets), torch.multinomial(p, 1)[:, 0], torch.rand(targets) + 0.5, fixed)


def alone(place: int, weight: float) -> list[float]:
    return [weight if each == place else 0.0 for each in range(F)]


def gain(choice: DiscreteChoice, theta: Sequence[float]) -> float:
    gains_K, weights_K = choice.compute_ndcg(torch.tensor(theta))
    return float(gains_K @ weights_K / weights_K.sum())


def loss(choice: DiscreteChoice, theta: Sequence[float]) -> float:
    return float(choice.compute_loss(torch.tensor(theta, dtype=torch.double))[0])


@dataclass
class Made:
    """A choice of which is told what each weight gains, and which are likely."""

    gain: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor], Tensor] = lambda theta: theta.square().sum()
    network_weights: tuple[float, ...] = (1.0, 0.0)
    single_counters: Sequence[tuple[float, ...]] = ()

    def __post_init__(self) -> None:
        #: Each target has a user of its own.
        self.users_K = torch.arange(len(self.gain(torch.ones(2))))

    def compute_ndcg(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        gains_K = self.gain(theta_F)
        return gains_K, torch.ones_like(gains_K)

    def compute_loss(self, theta_F: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss(theta_F), theta_F


def test_an_item_gains_by_its_place_among_the_first_25() -> None:
    expected = [1.0, 1 / np.log2(3), 1 / np.log2(26), 0.0, 0.0]
    assert compute_ndcg(torch.tensor([1, 2, 25, 26, 900])).tolist() == pytest.approx(expected)


def test_what_tells_nothing_gains_nothing() -> None:
    """Of equal ones the target is the last."""
    gains, weights = of_new(alone(LIKE, 1.0)).compute_ndcg(torch.zeros(F))
    assert len(gains) == len(weights) == K
    assert not gains.any()


def test_the_place_is_that_among_what_is_new() -> None:
    x = torch.zeros(2, F, 5)
    x[:, LIKE] = torch.tensor([9.0, 4.0, 3.0, 3.0, 1.0])
    had = torch.zeros(2, 5, dtype=torch.bool)
    had[1, 0] = True
    rows, items = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 2, 4, 1, 2])
    gains, _ = NewItemChoice(x, had, rows, items, torch.ones(5)).compute_ndcg(torch.tensor(alone(LIKE, 1.0)))
    torch.testing.assert_close(gains, compute_ndcg(torch.tensor([1, 4, 5, 1, 3])))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_gains_less_than_where_the_search_sets_out(seed: int) -> None:
    theta = np.random.default_rng(seed).normal(size=F).tolist() if seed else alone(LIKE, 0.7)
    choice = of_new(theta, seed=seed)
    likely = fit_weights(choice)
    found = gain(choice, find_best_weights(choice, likely))
    assert found >= gain(choice, likely) - 1e-6
    for start in (choice.network_weights, *choice.single_counters):
        assert found >= gain(choice, start) - 0.03  # only a significant gain counts


def test_the_luck_of_one_user_is_no_gain() -> None:
    """A user's hundred targets are one sample: Complete Journey's 53 validation users made a counter look best."""
    torch.manual_seed(0)
    lucky = torch.arange(K) < 100
    users = torch.where(lucky, 0, torch.arange(K))
    x, had = torch.zeros(K, F, I), torch.zeros(K, I, dtype=torch.bool)
    x[:, DOT, 0] = x[:, LIKE, 1] = 1.0
    taken = torch.where(lucky, 1, torch.arange(K) % 2)
    likely = alone(DOT, 1.0)
    targets = (torch.arange(K), taken, torch.ones(K))
    assert find_best_weights(NewItemChoice(x, had, *targets), likely)[LIKE] > 0
    assert find_best_weights(NewItemChoice(x, had, *targets, users_N=users), likely)[LIKE] == 0


def test_a_counter_alone_is_believed_where_it_gains_the_most() -> None:
    """Whatever is likelier."""
    made = Made(lambda theta: (theta[0] == 0) * (theta[1] > 0) * torch.ones(9), single_counters=[(0.0, 1.0)])
    first, second = find_best_weights(made, [1.0, -1.0])
    assert first == 0
    assert second > 0


def test_a_weight_that_gains_is_found_from_where_none_does() -> None:
    dot, like = find_best_weights(Made(lambda theta: (theta[0] == 0) * torch.ones(9)), [1.0, 0.5])
    assert dot == 0
    assert like > 0


def test_what_gains_by_chance_is_left() -> None:
    by_chance = torch.tensor([1.0, -1.0] * 50 + [1.0])
    assert not is_significant(by_chance)
    assert not is_significant(torch.zeros(9))
    assert is_significant(torch.ones(9))
    assert is_significant(torch.tensor([1.0, -1.0] * 50 + [1.0] * 50))
    likely = torch.tensor([1.0, 0.5])
    made = Made(
        lambda theta: by_chance * (theta[0] == 0),
        lambda theta: (theta - likely).square().sum(),
        network_weights=(1.0, 0.5),
    )
    assert find_best_weights(made, [1.0, 0.5]) == [1.0, 0.5]


@pytest.mark.parametrize("fixed", [1, 2])
def test_fixed_weights_stay(fixed: int) -> None:
    """Also where a counter tells all."""
    likely = fit_weights(of_new(alone(LIKE, 2.0), fixed=fixed))
    assert likely[:fixed] == list(NewItemChoice.network_weights[:fixed])
    assert likely[LIKE] > 0.5
    free = find_best_weights(of_new(alone(LIKE, 2.0)), fit_weights(of_new(alone(LIKE, 2.0))))
    assert abs(free[DOT]) < 0.5 * free[LIKE]


def test_the_scale_is_the_likeliest() -> None:
    scale = SCALES[15]
    wanted = scale * torch.tensor([1.0, 2.0], dtype=torch.double)
    found = find_best_weights(Made(lambda _: torch.ones(9), lambda theta: (theta - wanted).square().sum()), [1.0, 2.0])
    assert found == pytest.approx(wanted.tolist())
    choice = of_new(alone(LIKE, 0.7))
    theta = find_best_weights(choice, fit_weights(choice))
    for factor in (2**-0.25, 2**0.25):
        assert loss(choice, theta) < loss(choice, [factor * weight for weight in theta])


@pytest.mark.parametrize("targets", [0, 1])
def test_of_one_target_nothing_is_told(targets: int) -> None:
    likely = alone(LIKE, 0.3)
    assert find_best_weights(of_new(likely, targets=targets), likely) == likely


def test_each_step_may_stop_the_search() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        find_best_weights(Made(lambda _: torch.ones(9)), [1.0, 0.0], stop)


# Whether it was had


def test_what_was_had_fits_so_much_better() -> None:
    x, had = torch.randn(3, F, 5), torch.zeros(3, 5, dtype=torch.bool)
    had[0, :2] = had[1] = True
    nothing = torch.zeros(0, dtype=torch.long)
    z = x[0, LIKE].exp()
    evidence = NewItemChoice(x, had, nothing, nothing, torch.zeros(0)).compute_evidence(torch.tensor(alone(LIKE, 1.0)))
    assert evidence.tolist() == pytest.approx([float(z[:2].sum().log() - z[2:].sum().log()), np.inf, -np.inf])


def of_share(theta: Sequence[float], queries: int) -> RepeatShareChoice:
    torch.manual_seed(0)
    x = torch.stack([torch.randn(queries), 2 * torch.randn(queries) - 1, torch.ones(queries)], 1)
    again = (torch.rand(queries) < (x @ torch.tensor(theta)).sigmoid()).float()
    weights = torch.rand(queries) + 0.5
    return RepeatShareChoice(x, weights * again, weights * (1 - again))


def test_the_known_weights_of_a_share_are_found_again() -> None:
    theta = [0.6, 0.4, -0.8]
    np.testing.assert_allclose(fit_weights(of_share(theta, 6000)), theta, atol=0.12)


def test_the_slopes_of_a_share_are_those_of_the_likelihood() -> None:
    choice, theta = of_share([0.6, 0.4, -0.8], 50), torch.tensor([0.3, -0.2, 0.5], dtype=torch.double)
    slope, curved = choice.compute_derivatives(choice.compute_loss(theta)[1])
    small = 1e-2 * torch.eye(3, dtype=torch.double)
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
