"""The loss and its gradients: every form of it, in float32 and bfloat16, equals the mean of -log p."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn import network
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.ops.numba import bf16_softmax_loss as swift
from shared.recipes.hrnn.ops.pytorch import softmax_loss as softmax
from shared.recipes.hrnn.ops.softmax_loss import compute_softmax_loss
from shared.recipes.hrnn.types import Candidates, HistorySpans, Pairs, Targets
from tests.recipes.equations import QUERIES, compute_shares, make_queries, set_feature_range
from tests.recipes.networks import (
    PLAIN,
    RICH,
    H,
    I,
    name_form,
    shaken,
    some_known,
    some_pairs,
    some_targets,
)


@pytest.fixture
def unweighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new counts no more than it is."""
    monkeypatch.setattr(network, "LEAST_NEW_WEIGHT", 0.0)


def mean_of_minus_log_p(net: HrnnNetwork, q: Tensor, pairs: Pairs, known: Tensor, targets: Targets) -> Tensor:
    lost = -torch.stack(compute_shares(net, q, pairs, known))[targets.rows, targets.items].log()
    return (lost * targets.weights).sum() / targets.weights.sum()


def wanted(net: HrnnNetwork, q: Tensor) -> list[Tensor]:
    of_features = [] if net.of_item is None else [net.of_item.weight]
    of_again = [] if net.again is None else list(net.again.parameters())
    return [q, net.item.weight, net.bias, *of_again, *of_features]


def asked(form: HrnnConfig) -> tuple[Tensor, Pairs, Tensor, Targets]:
    """q, pairs, known, targets: a query without history, some that are asked nothing, and some several items."""
    q, pairs, known = make_queries(form)
    return q, pairs, known, some_targets(form, pairs, QUERIES)


@pytest.mark.usefixtures("unweighed")
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
@pytest.mark.parametrize("at_once", [1, 3 * I, 1000 * I])
def test_the_loss_is_the_mean_of_minus_log_p(monkeypatch: pytest.MonkeyPatch, form: HrnnConfig, at_once: int) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    net = set_feature_range(shaken(form))
    q, pairs, known, targets = asked(form)
    loss, plain = net.compute_loss(q, pairs, known, targets), mean_of_minus_log_p(net, q, pairs, known, targets)
    torch.testing.assert_close(loss, plain)
    gradients = zip(torch.autograd.grad(loss, wanted(net, q)), torch.autograd.grad(plain, wanted(net, q)), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("unweighed")
def test_where_all_is_new_or_all_was_had_the_loss_is_the_same_mean() -> None:
    net = shaken(RICH)
    q, pairs, known, targets = asked(RICH)
    had = targets.find_pairs(pairs, I) >= 0
    for chosen in (had, ~had):
        some = targets.select(chosen)
        plain = mean_of_minus_log_p(net, q, pairs, known, some)
        torch.testing.assert_close(net.compute_loss(q, pairs, known, some), plain)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
@pytest.mark.parametrize("of", ["had", "new", "nothing"])
def test_whatever_is_wanted_all_weights_are_made_use_of(form: HrnnConfig, of: str, fast: bool) -> None:
    """Ranks whose windows differ wait for each other's gradients."""
    net = shaken(form)
    net.fast = fast
    q, pairs, known, targets = asked(form)
    had = targets.find_pairs(pairs, I) >= 0
    some = targets.select({"had": had, "new": ~had, "nothing": had & ~had}[of])
    for gradient in torch.autograd.grad(net.compute_loss(q, pairs, known, some), wanted(net, q)):
        assert gradient.isfinite().all()


def test_what_is_new_counts_at_least_half_as_much_as_all() -> None:
    net = shaken(RICH)
    q, pairs, known, targets = asked(RICH)
    had = targets.find_pairs(pairs, I) >= 0
    targets = targets._replace(weights=torch.where(had, 1.0, 0.01))
    weights = targets.weights / targets.weights.sum()
    new = weights[~had].sum()
    logits = net.compute_logits(q).index_put((pairs.rows, pairs.items), torch.tensor(-torch.inf))
    lost_of_new = -logits.log_softmax(1)[targets.rows, targets.items][~had]
    expected = mean_of_minus_log_p(net, q, pairs, known, targets) + (lost_of_new * weights[~had]).sum() * (
        network.LEAST_NEW_WEIGHT / new - 1
    )
    assert new < network.LEAST_NEW_WEIGHT
    torch.testing.assert_close(net.compute_loss(q, pairs, known, targets), expected)


@pytest.mark.usefixtures("unweighed")
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_the_loss_in_half_precision_is_near(monkeypatch: pytest.MonkeyPatch, form: HrnnConfig) -> None:
    monkeypatch.setattr(softmax, "CACHE", 3 * I)
    net = shaken(form)
    q, pairs, known, targets = asked(form)
    plain = mean_of_minus_log_p(net, q, pairs, known, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.compute_loss(q, pairs, known, targets)
    torch.testing.assert_close(loss, plain, rtol=0.02, atol=0.0)
    gradients = zip(torch.autograd.grad(loss, wanted(net, q)), torch.autograd.grad(plain, wanted(net, q)), strict=True)
    for ours, theirs in gradients:
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() <= 0.05 * theirs.norm()


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_the_fast_loss_and_its_gradient_are_near(monkeypatch: pytest.MonkeyPatch, form: HrnnConfig) -> None:
    monkeypatch.setattr(swift, "LOGITS_A_THREAD", 3 * I)
    net = shaken(form)
    q, pairs, known, targets = asked(form)
    found = []
    for net.fast in (False, True):
        loss = net.compute_loss(q, pairs, known, targets)
        found.append((loss, torch.autograd.grad(loss, wanted(net, q))))
    (exact, exact_gradients), (fast, fast_gradients) = found
    torch.testing.assert_close(fast, exact, rtol=3e-3, atol=0.0)
    for ours, theirs in zip(fast_gradients, exact_gradients, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() <= 0.05 * theirs.norm()


def test_the_fast_loss_of_a_whole_step_is_nearer_still() -> None:
    """What its exponential is wrong by, up to 6 % of each, cancels out over many items."""
    form = HrnnConfig(items=1000, hidden=64)
    net = HrnnNetwork(form)
    torch.manual_seed(0)
    with torch.no_grad():
        net.item.weight *= 4.0
        net.bias.copy_(torch.randn(form.items + 1))
    q, pairs = torch.randn(512, 64, requires_grad=True), some_pairs(form, 512)
    targets = Targets(torch.arange(512), torch.randint(0, form.items, (512,)), torch.rand(512))
    targets = targets.select(targets.find_pairs(pairs, form.items) < 0)
    found = []
    for net.fast in (False, True):
        loss = net.compute_loss(q, pairs, some_known(512), targets)
        found.append((loss, torch.autograd.grad(loss, [q, net.item.weight, net.bias])))
    (exact, exact_gradients), (fast, fast_gradients) = found
    torch.testing.assert_close(fast, exact, rtol=1e-3, atol=0.0)
    for ours, theirs in zip(fast_gradients, exact_gradients, strict=True):
        assert (ours - theirs).norm() <= 0.01 * theirs.norm()


def test_the_gradient_of_the_fast_loss_is_scaled() -> None:
    net = shaken()
    net.fast = True
    q, *rest = asked(PLAIN)
    (once,) = torch.autograd.grad(net.compute_loss(q, *rest), q)
    (thrice,) = torch.autograd.grad(3 * net.compute_loss(q, *rest), q)
    torch.testing.assert_close(thrice, 3 * once)


def sampled(ids: Tensor, log_share: Tensor) -> Callable[[Tensor], Candidates]:
    return lambda _: Candidates(ids, log_share)


def test_an_unlikely_target_that_was_hardly_a_candidate_has_a_finite_loss() -> None:
    """All of e^-64 for its logit and e^-27 for its share is less than bfloat16 has numbers for."""
    net = HrnnNetwork(PLAIN)
    net.fast = True
    q = torch.zeros(4, H).index_fill_(1, torch.tensor([0]), 8.0).requires_grad_()
    with torch.no_grad():
        net.item.weight[3] = -q[0]
    nothing = torch.zeros(0, dtype=torch.long)
    targets = Targets(torch.arange(4), torch.full((4,), 3), torch.ones(4))
    seldom = sampled(torch.arange(I), torch.full((I,), -27.6))
    loss = net.compute_loss(q, Pairs(nothing, nothing), some_known(4), targets, seldom)
    assert 80 < loss < 100
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, [q, net.item.weight, net.bias]))


def some_spans(streams: int, steps: int) -> tuple[HistorySpans, Pairs]:
    """Spans, a few pairs beside them."""
    drawn = np.random.default_rng(0)
    spans = [
        (stream, int(item), *sorted(drawn.choice(steps + 1, 2, replace=False).tolist()))
        for stream in range(streams)
        for item in drawn.permutation(I)[: 6 * (stream != 1)]
    ]
    chosen = [row for row in range(streams * steps) if row % 4 == 0]
    items = [next(n for n in range(I) if (row // steps, n) not in {each[:2] for each in spans}) for row in chosen]
    return HistorySpans(*torch.tensor(spans).T.contiguous(), steps=steps), Pairs(
        torch.tensor(chosen), torch.tensor(items)
    )


def dense(q: Tensor, v: Tensor, pairs: Pairs, targets: Targets, shares: Tensor | None) -> Tensor:
    """``softmax_loss`` by torch alone, all logits at once."""
    logits = (q @ v[:, :-1].T + v[:, -1]).index_put((pairs.rows, pairs.items), torch.tensor(-torch.inf))
    if shares is not None:
        logits = logits.index_put((targets.rows, targets.items), shares, accumulate=True)
    return -(logits.log_softmax(1)[targets.rows, targets.items] * targets.weights).sum()


@pytest.mark.parametrize("at_once", [1, 7 * I, 1000 * I])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("fast", "near"), [(False, 1e-5), (True, 0.05)])
def test_either_softmax_is_torchs_with_masks_several_targets_shares_and_empty_rows(
    monkeypatch: pytest.MonkeyPatch, at_once: int, shared: bool, fast: bool, near: float
) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    monkeypatch.setattr(swift, "LOGITS_A_THREAD", at_once)
    torch.manual_seed(7)
    queries = 70
    q, v = torch.randn(queries, H, requires_grad=True), (0.3 * torch.randn(I, H + 1)).requires_grad_()
    pairs = some_pairs(PLAIN, queries, of_each=9)
    targets = some_targets(PLAIN, pairs, queries)
    assert len(targets.rows.unique()) < queries < len(targets.rows)
    shares = -torch.rand(len(targets.rows)) if shared else None
    expected = dense(q, v, pairs, targets, shares)
    loss = compute_softmax_loss(q, v, pairs, targets, shares, None, fast=fast)
    torch.testing.assert_close(loss, expected, rtol=near / 5, atol=0.0)
    gradients = zip(torch.autograd.grad(loss, (q, v)), torch.autograd.grad(expected, (q, v)), strict=True)
    for ours, theirs in gradients:
        assert (ours - theirs).norm() <= near * theirs.norm()
    of_nothing = torch.ones(queries, dtype=torch.bool).index_fill_(0, targets.rows, False)
    (gradient,) = torch.autograd.grad(compute_softmax_loss(q, v, pairs, targets, shares, None, fast=fast), q)
    assert (gradient[of_nothing] == 0).all()


@pytest.mark.parametrize("at_once", [1, 7 * I, 1000 * I])
@pytest.mark.parametrize("of_candidates", [False, True])
def test_spans_say_to_the_loss_what_pairs_do(
    monkeypatch: pytest.MonkeyPatch, at_once: int, of_candidates: bool
) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    monkeypatch.setattr(swift, "LOGITS_A_THREAD", at_once)
    net = shaken()
    streams, steps = 40, 6
    spans, pairs = some_spans(streams, steps)
    rows, order = torch.sort(torch.cat([pairs.rows, spans.expand()[0]]))
    flat = Pairs(rows, torch.cat([pairs.items, spans.expand()[1]])[order])
    q, known = torch.randn(streams * steps, H, requires_grad=True), some_known(streams * steps)
    targets = some_targets(PLAIN, flat, streams * steps)
    ids = torch.cat([torch.arange(0, I, 3), targets.items[::3]]).unique()  # not all of the targets
    choose: Callable[[Tensor], Candidates | None] = lambda _: None  # noqa: E731
    v, mine, at = net.get_item_embeddings(), targets, flat
    shares = None
    if of_candidates:
        log_share = -torch.rand(len(ids))
        choose = sampled(ids, log_share)
        there, of_pair = torch.isin(targets.items, ids), torch.isin(flat.items, ids)
        mine = Targets(targets.rows[there], torch.searchsorted(ids, targets.items[there]), targets.weights[there])
        at = Pairs(flat.rows[of_pair], torch.searchsorted(ids, flat.items[of_pair]))
        v = torch.cat([v[ids, :-1], (v[ids, -1] - log_share)[:, None]], 1)
        shares = log_share[mine.items]
    plain = dense(q, v, at, mine, shares) / targets.weights.sum()
    expected = torch.autograd.grad(plain, wanted(net, q))
    for net.fast, near in ((False, 1e-5), (True, 0.05)):
        for said, more in ((pairs, spans), (flat, None)):
            loss = net.compute_loss(q, said, known, targets, choose, more)
            torch.testing.assert_close(loss, plain, rtol=near / 5, atol=0.0)
            for ours, theirs in zip(torch.autograd.grad(loss, wanted(net, q)), expected, strict=True):
                assert (ours - theirs).norm() <= near * theirs.norm()


def test_logits_beyond_reach_are_learnt_exactly() -> None:
    net = shaken()
    q, *rest = asked(PLAIN)
    with torch.no_grad():
        q *= 100.0
    exact = net.compute_loss(q, *rest)
    net.fast = True
    torch.testing.assert_close(net.compute_loss(q, *rest), exact)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_queries_without_any_weight_have_no_loss(form: HrnnConfig, fast: bool) -> None:
    net = shaken(form)
    net.fast = fast
    q, pairs, known, targets = asked(form)
    loss = net.compute_loss(q, pairs, known, targets._replace(weights=torch.zeros(len(targets.rows))))
    (gradient,) = torch.autograd.grad(loss, q)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_queries_that_are_asked_nothing_have_no_loss(form: HrnnConfig, fast: bool) -> None:
    net = shaken(form)
    net.fast = fast
    q, pairs, known, targets = asked(form)
    loss = net.compute_loss(q, pairs, known, targets.select(torch.zeros(len(targets.rows), dtype=torch.bool)))
    (gradient,) = torch.autograd.grad(loss, q)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_a_logit_far_below_the_others_is_no_infinite_loss(form: HrnnConfig) -> None:
    net = shaken(form)
    with torch.no_grad():
        net.bias[3] = -1000.0
    q, pairs, known, targets = asked(form)
    alone = targets._replace(items=torch.full_like(targets.items, 3))
    loss = net.compute_loss(q, pairs, known, alone)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, wanted(net, q)))
