"""The network's answers: shares of all items equal the equations, also in a blend with counters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counters import BlendWeights
from shared.recipes.hrnn.ops.row_logsumexp import sum_exp_rows
from shared.recipes.hrnn.repeat_features import COUNT, FEATURES
from shared.recipes.hrnn.types import IMPOSSIBLE, Pairs, Targets
from tests.recipes.equations import QUERIES, compute_shares, make_queries, set_feature_range
from tests.recipes.networks import (
    PLAIN,
    RICH,
    H,
    I,
    name_form,
    shaken,
    some_bags,
    some_known,
    some_pairs,
)


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=name_form)
def test_what_is_answered_are_shares_of_all_items_and_those_of_the_equations(form: HrnnConfig) -> None:
    net = set_feature_range(shaken(form))
    q, pairs, known = make_queries(form)
    shares = net.compute_log_probs(q, pairs, known).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(QUERIES))
    torch.testing.assert_close(shares, torch.stack(compute_shares(net, q, pairs, known)))
    assert (shares[pairs.rows, pairs.items] > 0).all() == form.repeats


def test_what_is_counted_is_added_to_the_logits() -> None:
    net = set_feature_range(shaken(RICH))
    q, pairs, known = make_queries(RICH)
    new, again = torch.randn(QUERIES, I), torch.randn(len(pairs.rows))
    plain, more = net.compute_log_probs(q, pairs, known), net.compute_log_probs(q, pairs, known, (new, again))
    had = torch.zeros(QUERIES, I, dtype=torch.bool).index_put((pairs.rows, pairs.items), torch.tensor(True))
    for row in range(QUERIES):
        at = pairs.rows == row
        for of, added in ((~had[row], new[row][~had[row]]), (pairs.items[at], again[at])):
            mass = plain[row][of].logsumexp(0) if len(added) else torch.tensor(0.0)
            expected = (plain[row][of] + added).log_softmax(0) + mass
            torch.testing.assert_close(more[row][of], expected)


def test_who_has_had_all_items_takes_one_of_them_again() -> None:
    net = set_feature_range(shaken(replace(RICH, items=3)))
    pairs = Pairs(torch.zeros(3, dtype=torch.long), torch.arange(3), torch.randn(3, FEATURES), torch.zeros(3).long())
    assert net.again is not None
    q = torch.randn(1, H)
    expected = net.again.compute_logits(q, pairs, net.get_item_vectors).softmax(0)
    torch.testing.assert_close(net.compute_log_probs(q, pairs, some_known(1))[0].exp(), expected)


def test_blended_its_own_parts_have_the_weights_of_the_blend() -> None:
    net = set_feature_range(shaken(replace(RICH, item_features=0)))
    blend = BlendWeights(dot=0.6, bias=1.3, near=5.0, again_dot=-0.4, again_known=0.7, again_count=1.1)
    leant = net.apply_blend(blend)
    assert leant.config == replace(net.config, leaning=blend.values)
    assert BlendWeights.from_values(leant.config.leaning) == blend
    x, after, contexts = torch.randn(QUERIES, H), torch.zeros(QUERIES), some_bags(QUERIES, RICH.context_features)
    pairs, known = some_pairs(RICH, QUERIES), some_known(QUERIES)
    q, q_leant = (each.compute_query(x, after, contexts) for each in (net, leant))
    v = net.get_item_embeddings()
    torch.testing.assert_close(leant.compute_logits(q_leant), 0.6 * q @ v[:, :-1].T + 1.3 * v[:, -1])
    assert net.again is not None
    assert leant.again is not None
    assert pairs.features is not None
    torch.testing.assert_close(
        leant.again.compute_share_logit(q_leant, known, pairs), net.again.compute_share_logit(q, known, pairs)
    )
    worths = net.again.compute_feature_logits(pairs) - net.again.count * pairs.features[:, COUNT]
    expected = (
        -0.4 * net.again.compute_dots(q, pairs, net.get_item_vectors) + 0.7 * worths + 1.1 * pairs.features[:, COUNT]
    )
    torch.testing.assert_close(leant.again.compute_logits(q_leant, pairs, leant.get_item_vectors), expected)


def test_a_blend_of_itself_alone_changes_nothing_and_of_nothing_of_itself_is_finite() -> None:
    net = shaken(replace(RICH, item_features=0))
    q, pairs, known = make_queries(RICH)
    itself, nothing = net.apply_blend(BlendWeights()), net.apply_blend(BlendWeights(dot=0.0, again_dot=0.0))
    assert torch.equal(itself.compute_log_probs(q, pairs, known), net.compute_log_probs(q, pairs, known))
    x = torch.randn(QUERIES, H)
    assert nothing.compute_log_probs(nothing.compute_query(x, torch.zeros(QUERIES)), pairs, known).isfinite().all()


def test_sums_of_rows_are_logsumexp_and_of_an_empty_row_the_least() -> None:
    a, rows = torch.tensor([1.0, 200.0, 3.0, -1e29]), torch.tensor([0, 0, 2, 3])
    sums = sum_exp_rows(a, rows, 4)
    torch.testing.assert_close(sums[[0, 2, 3]], torch.tensor([200.0, 3.0, -1e29]))
    assert sums[1] <= IMPOSSIBLE


def test_a_target_is_found_among_the_pairs() -> None:
    pairs = Pairs(torch.tensor([0, 0, 2]), torch.tensor([7, 3, 3]))
    targets = Targets(torch.tensor([0, 0, 1, 2, 2]), torch.tensor([3, 4, 3, 3, 7]), torch.ones(5))
    assert targets.find_pairs(pairs, I).tolist() == [1, -1, -1, 2, -1]
    nothing = torch.zeros(0, dtype=torch.long)
    assert targets.find_pairs(Pairs(nothing, nothing), I).tolist() == [-1] * 5


def test_what_is_known_of_an_item_acts_on_those_of_the_history_alone() -> None:
    form = replace(PLAIN, repeats=True)
    net = shaken(form)
    q, rows, items = torch.randn(1, H), torch.zeros(2, dtype=torch.long), torch.tensor([4, 9])
    known = some_known(1)
    one = torch.randn(2, FEATURES)
    other = one + torch.tensor([[1.0], [0.0]])
    before, after = (net.compute_log_probs(q, Pairs(rows, items, x), known)[0] for x in (one, other))
    assert (after - before)[[4, 9]].abs().min() > 1e-3
    assert after[[4, 9]].exp().sum().item() == pytest.approx(before[[4, 9]].exp().sum().item(), abs=1e-6)
    others = [item for item in range(I) if item not in (4, 9)]
    assert torch.equal(after[others], before[others])


def test_what_lies_outside_the_range_that_was_met_is_the_nearest_in_it() -> None:
    net = shaken(replace(PLAIN, repeats=True)).again
    assert net is not None
    rows, items = torch.zeros(500, dtype=torch.long), torch.zeros(500, dtype=torch.long)
    met = torch.rand(500, FEATURES) * 4
    net.set_feature_range(Pairs(rows, items, met))
    torch.testing.assert_close(net.mean, met.mean(0))
    torch.testing.assert_close(net.scale, 1 / met.std(0))
    one = torch.tensor([0])
    least, most, less, more = (
        net.compute_feature_logits(Pairs(one, one, torch.full((1, FEATURES), value)))
        for value in (0.0, 4.0, -50.0, 90.0)
    )
    assert torch.equal(less, least)
    assert torch.equal(more, most)
    assert not torch.equal(more, less)
