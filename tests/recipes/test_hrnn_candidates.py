"""The sampled softmax: near the full one in its mean, right at its edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn import softmax
from shared.recipes.hrnn.candidates import chooser
from shared.recipes.hrnn.network import Candidates, Form, Network
from tests.recipes.networks import PLAIN, RICH, shaken, some_pairs

I, H, N = 400, 32, 64  # noqa: E741

COUNTS = (1000 / torch.arange(1, I + 1)).long()  # 1000, 500, 333 ... 2
NONE = torch.zeros(0, dtype=torch.long)


def drawn_targets() -> Tensor:
    return torch.multinomial(COUNTS.float(), N, replacement=True)


def test_a_small_catalogue_is_learnt_over_all_items() -> None:
    assert chooser(COUNTS, only_taken=False, full=I)(drawn_targets()) is None
    assert chooser(COUNTS, only_taken=True, full=I)(drawn_targets()) is None


def test_a_small_catalogue_can_be_learnt_over_the_items_somebody_took() -> None:
    counts = COUNTS.clone()
    counts[[3, 7]] = 0
    assert chooser(counts, only_taken=False, full=I)(NONE) is None
    candidates = chooser(counts, only_taken=True, full=I)(NONE)
    assert candidates is not None
    assert candidates.ids.tolist() == [item for item in range(I) if item not in (3, 7)]
    assert (candidates.log_share == 0).all()


def test_few_items_taken_of_very_many_are_all_candidates() -> None:
    counts = torch.zeros(100_000, dtype=torch.long)
    counts[::10_000] = 5
    candidates = chooser(counts, only_taken=True, full=I)(NONE)
    assert candidates is not None
    assert candidates.ids.tolist() == list(range(0, 100_000, 10_000))
    assert chooser(counts, only_taken=False, full=I)(NONE) is None


def test_targets_are_always_among_the_candidates_and_what_nobody_took_never() -> None:
    torch.manual_seed(0)
    counts = COUNTS.clone()
    counts[100:] = 0
    choose = chooser(counts, only_taken=False, negatives=30, full=0)
    for _ in range(20):
        targets = torch.randint(0, 100, (10,))
        candidates = choose(targets)
        assert candidates is not None
        assert torch.isin(targets, candidates.ids).all()
        assert (candidates.ids.diff() > 0).all()
        assert (counts[candidates.ids] > 0).all()
        assert len(candidates.ids) <= 40
        assert candidates.log_share.isfinite().all()
        assert (candidates.log_share <= 0).all()


def test_an_item_is_a_candidate_as_often_as_is_said() -> None:
    torch.manual_seed(0)
    choose = chooser(COUNTS, only_taken=False, negatives=50, full=0)
    times, said = torch.zeros(I), torch.zeros(I)
    for _ in range(1000):
        candidates = choose(drawn_targets())
        assert candidates is not None
        times[candidates.ids] += 1
        said[candidates.ids] = candidates.log_share.exp()
    assert (times > 0).all()
    torch.testing.assert_close(times / 1000, said, rtol=0.0, atol=0.07)
    assert (times / 1000 - said).mean().abs() < 0.01


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("at_once", [200, 10**6])
def test_with_all_items_as_candidates_it_is_the_full_softmax(
    monkeypatch: pytest.MonkeyPatch, form: Form, at_once: int
) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    net = shaken(form)
    torch.manual_seed(0)
    q = torch.randn(9, H, requires_grad=True)
    pairs, targets, weights = some_pairs(form, 9), torch.randint(0, form.items, (9,)), torch.rand(9)
    everything = Candidates(torch.arange(form.items), torch.zeros(form.items))
    of_features = [] if net.of_item is None else [net.of_item.weight]
    wanted = [q, net.item.weight, net.bias, net.repeat.weight, net.repeat.bias, *net.ages, *of_features]
    sampled, full = net.loss(q, pairs, targets, weights, everything), net.loss(q, pairs, targets, weights)
    torch.testing.assert_close(sampled, full)
    gradients = zip(torch.autograd.grad(sampled, wanted), torch.autograd.grad(full, wanted), strict=True)
    for one, other in gradients:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("repeats", [False, True])
def test_the_mean_over_samples_is_near_the_full_loss_and_its_gradient(repeats: bool) -> None:
    """Negatives for an eighth of the items; the logQ correction is what makes it so, see below."""
    torch.manual_seed(0)
    form = replace(PLAIN, items=I, repeats=repeats)
    net = Network(form, dropout=0.0)
    with torch.no_grad():
        net.bias[:-1] = torch.log(COUNTS / COUNTS.sum())
    q, pairs = torch.randn(N, H), some_pairs(form, N, of_each=6)
    choose = chooser(COUNTS, only_taken=False, negatives=50, full=0)
    wanted = [net.item.weight, net.bias, net.repeat.bias, *net.ages]
    losses: dict[str, list[Tensor]] = {"sampled": [], "uncorrected": [], "full": []}
    gradients: dict[str, Tensor] = {}
    for _ in range(150):
        targets = drawn_targets()
        candidates = choose(targets)
        assert candidates is not None
        uncorrected = candidates._replace(log_share=torch.zeros_like(candidates.log_share))
        for name, chosen in {"sampled": candidates, "uncorrected": uncorrected, "full": None}.items():
            loss = net.loss(q, pairs, targets, torch.ones(N), chosen)
            losses[name].append(loss.detach())
            gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, wanted)])
            gradients[name] = gradients.get(name, torch.zeros(())) + gradient
    mean = {name: float(torch.stack(each).mean()) for name, each in losses.items()}
    assert mean["sampled"] == pytest.approx(mean["full"], rel=0.02)
    assert mean["uncorrected"] < 0.9 * mean["full"]
    alike = {
        name: torch.cosine_similarity(gradients[name], gradients["full"], dim=0) for name in ("sampled", "uncorrected")
    }
    assert alike["sampled"] > 0.95
    assert alike["sampled"] > alike["uncorrected"]
