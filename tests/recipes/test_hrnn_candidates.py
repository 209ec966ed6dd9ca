"""The sampled softmax: near the full one in its mean, right at its edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn.candidates import create_candidate_sampler
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.ops.pytorch import softmax_loss
from shared.recipes.hrnn.types import Candidates, HistorySpans, Pairs, Targets
from tests.recipes.networks import PLAIN, RICH, shaken, some_known, some_pairs, some_targets

I, H, N = 400, 32, 64  # noqa: E741

COUNTS = (1000 / torch.arange(1, I + 1)).long()  # 1000, 500, 333 ... 2
NONE = torch.zeros(0, dtype=torch.long)


def drawn_targets() -> Tensor:
    return torch.multinomial(COUNTS.float(), N, replacement=True)


def test_a_small_catalogue_is_learnt_over_all_items() -> None:
    assert create_candidate_sampler(COUNTS, only_taken=False, full=I)(drawn_targets()) is None
    assert create_candidate_sampler(COUNTS, only_taken=True, full=I)(drawn_targets()) is None


def test_a_small_catalogue_can_be_learnt_over_the_items_somebody_took() -> None:
    counts = COUNTS.clone()
    counts[[3, 7]] = 0
    assert create_candidate_sampler(counts, only_taken=False, full=I)(NONE) is None
    candidates = create_candidate_sampler(counts, only_taken=True, full=I)(NONE)
    assert candidates is not None
    assert candidates.ids.tolist() == [item for item in range(I) if item not in (3, 7)]
    assert (candidates.log_share == 0).all()


def test_few_items_taken_of_very_many_are_all_candidates() -> None:
    counts = torch.zeros(100_000, dtype=torch.long)
    counts[::10_000] = 5
    candidates = create_candidate_sampler(counts, only_taken=True, full=I)(NONE)
    assert candidates is not None
    assert candidates.ids.tolist() == list(range(0, 100_000, 10_000))
    assert create_candidate_sampler(counts, only_taken=False, full=I)(NONE) is None


def test_targets_are_always_among_the_candidates_and_what_nobody_took_never() -> None:
    torch.manual_seed(0)
    counts = COUNTS.clone()
    counts[100:] = 0
    choose = create_candidate_sampler(counts, only_taken=False, negatives=30, full=0)
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
    choose = create_candidate_sampler(COUNTS, only_taken=False, negatives=50, full=0)
    times, said = torch.zeros(I), torch.zeros(I)
    for _ in range(1000):
        candidates = choose(drawn_targets())
        assert candidates is not None
        times[candidates.ids] += 1
        said[candidates.ids] = candidates.log_share.exp()
    assert (times > 0).all()
    torch.testing.assert_close(times / 1000, said, rtol=0.0, atol=0.07)
    assert (times / 1000 - said).mean().abs() < 0.01


def test_of_pairs_spans_and_targets_what_is_no_candidate_is_left_out() -> None:
    candidates = Candidates(torch.tensor([2, 5, 7]), torch.zeros(3))
    pairs = Pairs(torch.tensor([0, 0, 1, 3]), torch.tensor([7, 8, 1, 2]))
    targets = Targets(torch.tensor([0, 1, 2, 2]), torch.tensor([5, 0, 7, 9]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    spans = HistorySpans(*torch.tensor([[0, 5, 1, 2], [0, 6, 1, 2], [1, 2, 0, 1]]).T, steps=2)
    of_pairs, of_targets, of_spans = candidates.filter_parts(pairs, targets, spans)
    assert [each.tolist() for each in of_pairs[:2]] == [[0, 3], [2, 0]]
    assert [each.tolist() for each in of_targets] == [[0, 2], [1, 2], [1.0, 3.0]]
    assert of_spans is not None
    assert [each.tolist() for each in of_spans[:4]] == [[0, 1], [1, 0], [1, 0], [2, 1]]
    assert candidates.filter_parts(pairs, targets, None)[2] is None


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=["plain", "rich"])
@pytest.mark.parametrize("at_once", [200, 10**6])
def test_with_all_items_as_candidates_it_is_the_full_softmax(
    monkeypatch: pytest.MonkeyPatch, form: HrnnConfig, at_once: int
) -> None:
    monkeypatch.setattr(softmax_loss, "CACHE", at_once)
    net = shaken(form)
    torch.manual_seed(0)
    q = torch.randn(9, H, requires_grad=True)
    pairs, known = some_pairs(form, 9), some_known(9)
    targets = some_targets(form, pairs, 9)
    everything = Candidates(torch.arange(form.items), torch.zeros(form.items))
    of_features = [] if net.of_item is None else [net.of_item.weight]
    of_again = [] if net.again is None else list(net.again.parameters())
    wanted = [q, net.item.weight, net.bias, *of_again, *of_features]
    sampled, full = (net.compute_loss(q, pairs, known, targets, lambda _, c=c: c) for c in (everything, None))
    torch.testing.assert_close(sampled, full)
    gradients = zip(torch.autograd.grad(sampled, wanted), torch.autograd.grad(full, wanted), strict=True)
    for one, other in gradients:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def of_question(net: HrnnNetwork, q: Tensor, pairs: Pairs, known: Tensor, targets: Targets) -> Tensor:
    """What of the loss is -log p(new)."""
    if net.again is None:
        return torch.tensor(0.0)
    return functional.softplus(net.again.compute_share_logit(q, known, pairs))[targets.rows].mean().detach()


@pytest.mark.parametrize("repeats", [False, True])
def test_the_mean_over_samples_is_near_the_full_loss_and_its_gradient(repeats: bool) -> None:
    """Negatives for an eighth of the items; the logQ correction is what makes it so, see below."""
    torch.manual_seed(0)
    form = replace(PLAIN, items=I, repeats=repeats)
    net = HrnnNetwork(form, dropout=0.0)
    with torch.no_grad():
        net.bias[:-1] = torch.log(COUNTS / COUNTS.sum())
    q, pairs = torch.randn(N, H), some_pairs(form, N, of_each=6)
    choose = create_candidate_sampler(COUNTS, only_taken=False, negatives=50, full=0)
    known, wanted = some_known(N), [net.item.weight, net.bias]
    losses: dict[str, list[Tensor]] = {"sampled": [], "uncorrected": [], "full": []}
    gradients: dict[str, Tensor] = {}
    for _ in range(150):
        targets = Targets(torch.arange(N), drawn_targets(), torch.ones(N))
        # What was had is no choice among what is new.
        targets = targets.select(targets.find_pairs(pairs, I) < 0)
        candidates = choose(targets.items)
        assert candidates is not None
        uncorrected = candidates._replace(log_share=torch.zeros_like(candidates.log_share))
        for name, chosen in {"sampled": candidates, "uncorrected": uncorrected, "full": None}.items():
            loss = net.compute_loss(q, pairs, known, targets, lambda _, chosen=chosen: chosen)
            losses[name].append(loss.detach() - of_question(net, q, pairs, known, targets))
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
