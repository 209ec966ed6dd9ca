"""The network alone, with both cells: shapes, equivalences, gradients, and patterns that it must be able to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn import network
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counters import BlendWeights
from shared.recipes.hrnn.network import GAP_BUCKETS, LAYERS, HrnnNetwork, LinearRecurrence
from shared.recipes.hrnn.ops.numba import bf16_softmax_loss as swift
from shared.recipes.hrnn.ops.pytorch import softmax_loss as softmax
from shared.recipes.hrnn.ops.pytorch.linear_recurrence import GatedScan, compute_scan, compute_scan_backward
from shared.recipes.hrnn.ops.row_logsumexp import sum_exp_rows
from shared.recipes.hrnn.ops.softmax_loss import compute_softmax_loss
from shared.recipes.hrnn.repeat_features import COUNT, FEATURES
from shared.recipes.hrnn.time_buckets import LEAST_MET, bucket_gaps, find_nearest_known
from shared.recipes.hrnn.types import IMPOSSIBLE, Candidates, Events, FeatureBags, HistorySpans, Pairs, Targets
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.networks import (
    CELLS,
    PLAIN,
    RICH,
    Learnt,
    learnt,
    shaken,
    some_bags,
    some_events,
    some_known,
    some_of,
    some_pairs,
    some_targets,
    took,
)
from tests.recipes.synthetic import training_data

T, B, H, I = 24, 5, 32, 40  # noqa: E741

FORMS = [replace(form, cell=cell) for cell in CELLS for form in (PLAIN, RICH)]  # type: ignore[arg-type]


def named(form: HrnnConfig) -> str:
    return f"{form.cell}-{'rich' if form.repeats else 'plain'}"


each_form = pytest.mark.parametrize("form", FORMS, ids=named)
each_cell = pytest.mark.parametrize("cell", CELLS)
one_stream_or_several = pytest.mark.parametrize("streams", [1, B])


@each_form
def test_shapes(form: HrnnConfig) -> None:
    net = shaken(form)
    x, state = net(some_events(form), net.create_state(B))
    assert x.shape == (T, B, H)
    width = {"linear": 2 * H, "gru": H}[form.cell]
    assert state.shape == net.create_state(B).shape == (LAYERS, B, width)
    contexts = some_bags(T * B, form.context_features) if form.context_features else None
    q = net.compute_query(x.flatten(0, 1), torch.zeros(T * B), contexts)
    assert q.shape == (T * B, H)
    assert net.compute_logits(q).shape == (T * B, I)
    assert net.compute_log_probs(q, some_pairs(form, T * B), some_known(T * B)).shape == (T * B, I)
    assert net.get_item_embeddings().shape == (I, H + 1)
    assert net.get_item_embeddings(torch.tensor([3, I])).shape == (2, H + 1)


@each_form
@one_stream_or_several
def test_step_by_step_equals_the_whole_sequence(form: HrnnConfig, streams: int) -> None:
    net = shaken(form)
    events = some_events(form, streams=streams)
    whole, last = net(events, net.create_state(streams))
    state = net.create_state(streams)
    for t in range(T):
        x, state = net(some_of(events, slice(t, t + 1)), state)
        torch.testing.assert_close(x[0], whole[t], rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


@each_form
@one_stream_or_several
def test_windows_that_hand_on_their_state_equal_one_long_window(form: HrnnConfig, streams: int) -> None:
    net = shaken(form)
    events = some_events(form, streams=streams)
    whole, last = net(events, net.create_state(streams))
    state, parts = net.create_state(streams), []
    for window in (slice(0, 7), slice(7, 8), slice(8, T)):
        x, state = net(some_of(events, window), state)
        parts.append(x)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


@each_cell
def test_serving_without_gradients_equals_training(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    trained, _ = net(some_events(), net.create_state(B))
    with torch.inference_mode():
        served, _ = net(some_events(), net.create_state(B))
    torch.testing.assert_close(served, trained, rtol=0, atol=1e-6)


@each_cell
def test_a_user_knows_nothing_of_the_one_before(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    events = some_events()
    events.begins[10] = True
    x, _ = net(events, net.create_state(B))
    others = events.items.clone()
    others[:10] = (others[:10] + 1) % I
    other, _ = net(events._replace(items=others), net.create_state(B))
    torch.testing.assert_close(other[10:], x[10:], rtol=0, atol=0)
    assert not torch.allclose(other[:10], x[:10])


@each_cell
def test_a_pause_ends_the_session_and_not_the_user(cell: str) -> None:
    """Of the state that came in, a new session sees the user's half and a new user none."""
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    torch.manual_seed(2)
    state = torch.randn_like(net.create_state(1))
    of_session = torch.zeros_like(state)
    of_session[..., : state.shape[-1] // 2] = torch.randn_like(state[..., : state.shape[-1] // 2])
    of_user = torch.randn_like(state) - of_session
    of_user[..., : state.shape[-1] // 2] = 0

    def acts(change: Tensor, before: int, begins: bool) -> bool:
        event = Events(torch.tensor([[3]]), torch.tensor([[before]]), torch.tensor([[begins]]))
        return not torch.equal(net(event, state)[0], net(event, state + change)[0])

    going_on, pause = SESSION_SECONDS - 1, SESSION_SECONDS
    assert acts(of_session, going_on, False)
    assert acts(of_user, going_on, False)
    assert not acts(of_session, pause, False)
    assert acts(of_user, pause, False)
    assert not acts(of_session, 0, True)
    assert not acts(of_user, 0, True)


@each_cell
def test_the_time_between_events_acts_on_what_is_kept(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    with torch.no_grad():
        net.gap.weight.zero_()  # the gates alone
    events = some_events()
    events.begins[1:] = False
    events.before[:] = 10
    events.before[5] = 1000
    later, _ = net(events, net.create_state(B))
    events.before[5] = 10
    sooner, _ = net(events, net.create_state(B))
    torch.testing.assert_close(later[:5], sooner[:5], rtol=0, atol=1e-6)
    assert (later[5:] - sooner[5:]).abs().amax() > 1e-3


def test_the_moment_of_the_request_acts() -> None:
    net = shaken()
    x = torch.randn(7, H)
    assert not torch.allclose(net.compute_query(x, torch.zeros(7)), net.compute_query(x, torch.full((7,), 86_400.0)))


def test_gaps_are_counted_in_powers_of_two() -> None:
    seconds = torch.tensor([-5, 0, 1, 2, 3, 6, 7, 3600, 10**12])
    assert bucket_gaps(seconds).tolist() == [0, 0, 1, 1, 2, 2, 3, 11, GAP_BUCKETS - 1]
    assert bucket_gaps(seconds.double()).tolist() == bucket_gaps(seconds).tolist()


def test_a_length_of_time_that_was_hardly_met_is_the_nearest_that_was() -> None:
    counts = torch.zeros(GAP_BUCKETS, dtype=torch.long)
    counts[[0, 4, 11, 12, 30]] = torch.tensor([LEAST_MET, LEAST_MET, LEAST_MET - 1, 7 * LEAST_MET, 1])
    expected = [0, 0, 0, 4, 4, 4, 4, 4, 4] + [12] * (GAP_BUCKETS - 9)  # 2 and 8 are as near to either
    assert find_nearest_known(counts).tolist() == expected
    few = torch.zeros(GAP_BUCKETS, dtype=torch.long).index_fill_(0, torch.tensor([3]), 2)
    assert find_nearest_known(few).tolist() == [3] * GAP_BUCKETS


@each_cell
def test_folded_a_length_of_time_that_was_hardly_met_is_the_nearest_that_was(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    asked, read = (torch.zeros(GAP_BUCKETS, dtype=torch.long) for _ in range(2))
    asked[[0, 12]], read[[0, 5]] = LEAST_MET, LEAST_MET
    net.request_gaps_G, net.event_gaps_G = asked, read
    folded = net.fold_features()
    of_request, of_event = [0] * 7 + [12] * 25, [0] * 3 + [5] * 29
    assert torch.equal(folded.scale.weight, net.scale.weight[of_request])
    assert torch.equal(folded.shift.weight, net.shift.weight[of_request])
    assert torch.equal(folded.gap.weight, net.gap.weight[of_event])
    for layer, before in zip(folded.layers, net.layers, strict=True):
        assert torch.equal(layer.time.weight, before.time.weight[of_event])  # type: ignore[union-attr, index]


@each_cell
def test_types_users_and_contexts_act(cell: str) -> None:
    net = shaken(replace(RICH, cell=cell))  # type: ignore[arg-type]
    events = some_events(RICH)
    x, _ = net(events, net.create_state(B))
    assert events.types is not None
    of_other_types, _ = net(events._replace(types=(events.types + 1) % 4), net.create_state(B))
    assert not torch.allclose(of_other_types, x)
    of_other_users, _ = net(events._replace(users=some_bags(T * B, 4, seed=9)), net.create_state(B))
    assert not torch.allclose(of_other_users, x)
    x, after = x.flatten(0, 1), torch.zeros(T * B)
    q = net.compute_query(x, after, some_bags(T * B, 6))
    assert not torch.allclose(net.compute_query(x, after, some_bags(T * B, 6, seed=9)), q)
    assert not torch.allclose(net.compute_query(x, after), q)


def test_bags_are_summed_with_their_weights() -> None:
    bags = FeatureBags(torch.tensor([0, 2, 2, 3]), torch.tensor([1, 0, 1]), torch.tensor([0.5, 2.0, -1.0]))
    embedding = torch.nn.Embedding(2, 3)
    zeroth, first = embedding.weight
    expected = torch.stack([0.5 * first + 2 * zeroth, torch.zeros(3), -first])
    torch.testing.assert_close(bags.sum_embeddings(embedding), expected)
    chosen = bags.select_rows(torch.tensor([2, 1, 0, 0]))
    assert chosen.offsets.tolist() == [0, 1, 1, 3, 5]
    torch.testing.assert_close(chosen.sum_embeddings(embedding), expected[[2, 1, 0, 0]])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    net = HrnnNetwork(PLAIN, dropout=0.2)
    torch.manual_seed(0)
    ones = torch.ones(1000, 333)
    dropped = net._apply_dropout(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.003)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.003)
    assert (dropped == 0).float().mean(1).std().item() == pytest.approx((0.2 * 0.8 / 333) ** 0.5, rel=0.15)
    assert not torch.equal(net._apply_dropout(ones), dropped)
    torch.manual_seed(0)
    assert torch.equal(net._apply_dropout(ones), dropped)
    net.eval()
    assert torch.equal(net._apply_dropout(ones), ones)


# The scan


def by_hand(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    """The recurrence, a line each step."""
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_doubling_computes_the_recurrence(steps: int) -> None:
    torch.manual_seed(0)
    a, b, h = torch.rand(steps, 3, 4), torch.randn(steps, 3, 4), torch.randn(3, 4)
    torch.testing.assert_close(compute_scan(a, b, h), by_hand(a, b, h))


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_doubling_backwards_is_the_adjoint(steps: int) -> None:
    torch.manual_seed(0)
    a, g = torch.rand(steps, 3, 4), torch.randn(steps, 3, 4)
    b = torch.randn(steps, 3, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(by_hand(a, b, torch.randn(3, 4)), b, g)
    torch.testing.assert_close(compute_scan_backward(a, g.clone()), expected)


def scanned_by_hand(into: Tensor, time: Tensor, keep: Tensor, h: Tensor) -> Tensor:
    gate, v, g = into.chunk(3, -1)
    a = torch.sigmoid(gate + time)
    kept = a * keep.repeat_interleave(a.shape[-1] // 2, -1)
    return by_hand(kept, (1 - a) * v, h) * functional.silu(g)


def to_scan(streams: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    steps, width = 6, 4
    into = torch.randn(steps, streams, 3 * width, dtype=torch.double, requires_grad=True)
    time = torch.randn(steps, streams, width, dtype=torch.double, requires_grad=True)
    keep = (torch.rand(steps, streams, 2) < 0.7).double()
    return into, time, keep, torch.randn(streams, width, dtype=torch.double)


@pytest.mark.parametrize("streams", [1, 2])
def test_the_gated_scan_and_its_gradients_are_those_of_the_equations(streams: int) -> None:
    into, time, keep, h = to_scan(streams)
    y, last = GatedScan.apply(into, time, keep, h)
    plain = scanned_by_hand(into, time, keep, h)
    torch.testing.assert_close(y, plain)
    gate, v, _ = into.chunk(3, -1)
    a = torch.sigmoid(gate + time)
    torch.testing.assert_close(last, by_hand(a * keep.repeat_interleave(2, -1), (1 - a) * v, h)[-1])
    assert not last.requires_grad
    wanted = torch.randn_like(y)
    ours = torch.autograd.grad(y, (into, time), wanted)
    for one, other in zip(ours, torch.autograd.grad(plain, (into, time), wanted), strict=True):
        torch.testing.assert_close(one, other)


def test_the_gated_scans_gradients_are_finite_differences() -> None:
    into, time, keep, h = to_scan(2)
    assert torch.autograd.gradcheck(lambda into, time: GatedScan.apply(into, time, keep, h)[0], (into, time))


def gradients_of_a_layer(layer: LinearRecurrence, streams: int, *, whole: bool, fast: bool = False) -> list[Tensor]:
    """What it gives, its last state, and the gradients. ``whole``: as on a CPU."""
    torch.manual_seed(0)
    x = torch.randn(T, streams, H, requires_grad=True)
    gap = torch.randint(0, GAP_BUCKETS, (T, streams))
    keep, h = (torch.rand(T, streams, 2) < 0.8).float(), torch.randn(streams, 2 * H)
    if whole:
        z, last = layer(x, gap, keep, h, fast=fast)
    else:
        y, last = GatedScan.apply(layer.into(layer.norm(x)), layer.time(gap), keep, h)
        z = x + layer.out(y)
    return [z, last, *torch.autograd.grad(z, [x, *layer.parameters()], torch.randn_like(z))]


@one_stream_or_several
def test_a_layer_written_out_is_what_its_modules_are(streams: int) -> None:
    layer = shaken().layers[0]
    assert isinstance(layer, LinearRecurrence)
    ours, plain = (gradients_of_a_layer(layer, streams, whole=whole) for whole in (True, False))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    fast = gradients_of_a_layer(layer, streams, whole=True, fast=True)
    for one, other in zip(fast, plain, strict=True):
        assert one.dtype == other.dtype
        assert 0 < (one - other).norm() <= 0.03 * other.norm()


def test_a_layers_gradient_can_be_taken_twice() -> None:
    layer = shaken().layers[0]
    x, keep = torch.randn(T, 9, H, requires_grad=True), (torch.rand(T, 9, 2) < 0.5).float()
    z, _ = layer(x, torch.zeros(T, 9, dtype=torch.long), keep, torch.randn(9, 2 * H))
    once, again = (torch.autograd.grad(z.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)


# What is answered

QUERIES = 11


def shares_by_hand(net: HrnnNetwork, q: Tensor, pairs: Pairs, known: Tensor) -> list[Tensor]:
    """p_I of each query, written out."""
    v, found = net.get_item_embeddings(), []
    for row in range(len(q)):
        at = torch.nonzero(pairs.rows == row).view(-1)
        had = pairs.items[at]
        new = torch.exp(v[:, :-1] @ q[row] + v[:, -1]) * torch.ones(len(v)).index_fill_(0, had, 0.0)
        new = new / new.sum()
        if net.again is None or not len(had):
            found.append(new)
            continue
        again, features = net.again, pairs.features
        assert features is not None
        x = again.known((features[at].clamp(again.least, again.most) - again.mean) * again.scale)
        if again.of_type is not None:
            assert pairs.types is not None
            x = x + again.of_type(pairs.types[at])
        a = (v[had, :-1] * again.fit) @ q[row] + again.bias(had)[:, 0] + again.worth(functional.silu(x))[:, 0]
        a = a + again.count * features[at, COUNT]
        share = torch.sigmoid(again.of_user(torch.cat([q[row], known[row]])))
        found.append(((1 - share) * new).index_copy(0, had, share * torch.softmax(a, 0)))
    return found


def queried(form: HrnnConfig) -> tuple[Tensor, Pairs, Tensor]:
    """q, pairs, known; the first has no history."""
    torch.manual_seed(5)
    return torch.randn(QUERIES, H, requires_grad=True), some_pairs(form, QUERIES), some_known(QUERIES)


def as_trained(net: HrnnNetwork) -> HrnnNetwork:
    """With features of pairs that have a mean, a scale and a range, and a weight of how often."""
    if net.again is not None:
        with torch.no_grad():
            for buffer, values in (("mean", 0.3), ("scale", 0.7), ("least", -0.8), ("most", 0.9), ("count", 0.4)):
                getattr(net.again, buffer).fill_(values)
    return net


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_what_is_answered_are_shares_of_all_items_and_those_of_the_equations(form: HrnnConfig) -> None:
    net = as_trained(shaken(form))
    q, pairs, known = queried(form)
    shares = net.compute_log_probs(q, pairs, known).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(QUERIES))
    torch.testing.assert_close(shares, torch.stack(shares_by_hand(net, q, pairs, known)))
    assert (shares[pairs.rows, pairs.items] > 0).all() == form.repeats


def test_what_is_counted_is_added_to_the_logits() -> None:
    net = as_trained(shaken(RICH))
    q, pairs, known = queried(RICH)
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
    net = as_trained(shaken(replace(RICH, items=3)))
    pairs = Pairs(torch.zeros(3, dtype=torch.long), torch.arange(3), torch.randn(3, FEATURES), torch.zeros(3).long())
    assert net.again is not None
    q = torch.randn(1, H)
    expected = net.again.compute_logits(q, pairs, net.get_item_vectors).softmax(0)
    torch.testing.assert_close(net.compute_log_probs(q, pairs, some_known(1))[0].exp(), expected)


def test_blended_its_own_parts_have_the_weights_of_the_blend() -> None:
    net = as_trained(shaken(replace(RICH, item_features=0)))
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
    q, pairs, known = queried(RICH)
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


# The loss


@pytest.fixture
def unweighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new counts no more than it is."""
    monkeypatch.setattr(network, "LEAST_NEW_WEIGHT", 0.0)


def mean_of_minus_log_p(net: HrnnNetwork, q: Tensor, pairs: Pairs, known: Tensor, targets: Targets) -> Tensor:
    lost = -torch.stack(shares_by_hand(net, q, pairs, known))[targets.rows, targets.items].log()
    return (lost * targets.weights).sum() / targets.weights.sum()


def wanted(net: HrnnNetwork, q: Tensor) -> list[Tensor]:
    of_features = [] if net.of_item is None else [net.of_item.weight]
    of_again = [] if net.again is None else list(net.again.parameters())
    return [q, net.item.weight, net.bias, *of_again, *of_features]


def asked(form: HrnnConfig) -> tuple[Tensor, Pairs, Tensor, Targets]:
    """q, pairs, known, targets: a query without history, some that are asked nothing, and some several items."""
    q, pairs, known = queried(form)
    return q, pairs, known, some_targets(form, pairs, QUERIES)


@pytest.mark.usefixtures("unweighed")
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
@pytest.mark.parametrize("at_once", [1, 3 * I, 1000 * I])
def test_the_loss_is_the_mean_of_minus_log_p(monkeypatch: pytest.MonkeyPatch, form: HrnnConfig, at_once: int) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    net = as_trained(shaken(form))
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
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
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
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
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


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
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


@each_cell
def test_half_precision_reads_about_the_same(cell: str) -> None:
    net = shaken(replace(RICH, cell=cell), by=0.05)  # type: ignore[arg-type]
    plain, _ = net(some_events(RICH), net.create_state(B))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, state = net(some_events(RICH), net.create_state(B))
    assert (half - plain).norm() < 0.05 * plain.norm()
    assert state.isfinite().all()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_queries_without_any_weight_have_no_loss(form: HrnnConfig, fast: bool) -> None:
    net = shaken(form)
    net.fast = fast
    q, pairs, known, targets = asked(form)
    loss = net.compute_loss(q, pairs, known, targets._replace(weights=torch.zeros(len(targets.rows))))
    (gradient,) = torch.autograd.grad(loss, q)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_queries_that_are_asked_nothing_have_no_loss(form: HrnnConfig, fast: bool) -> None:
    net = shaken(form)
    net.fast = fast
    q, pairs, known, targets = asked(form)
    loss = net.compute_loss(q, pairs, known, targets.select(torch.zeros(len(targets.rows), dtype=torch.bool)))
    (gradient,) = torch.autograd.grad(loss, q)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_a_logit_far_below_the_others_is_no_infinite_loss(form: HrnnConfig) -> None:
    net = shaken(form)
    with torch.no_grad():
        net.bias[3] = -1000.0
    q, pairs, known, targets = asked(form)
    alone = targets._replace(items=torch.full_like(targets.items, 3))
    loss = net.compute_loss(q, pairs, known, alone)
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, wanted(net, q)))


# Patterns, on users who were not learnt from


@each_cell
def test_it_learns_a_cycle(cell: str) -> None:
    rng = np.random.default_rng(0)
    data = took([[((start + t) % 12, 10 * t) for t in range(20)] for start in rng.integers(0, 12, 40)], 12)
    assert learnt(training_data(data), cell, steps=40, first=1).loss_TB[1:].mean() < 0.1


@each_cell
def test_it_remembers_what_came_long_before(cell: str) -> None:
    """Only the first item tells which of two comes last: a network that forgets cannot go below log 2."""
    rng = np.random.default_rng(0)
    numbers = [[user % 2, *rng.integers(4, 10, 12), user % 2 + 2] for user in range(128)]
    data = took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in numbers], 10)
    assert learnt(training_data(data), cell, first=13).loss_TB[13].mean() < 0.1


@each_cell
def test_it_learns_what_people_begin_with(cell: str) -> None:
    rng = np.random.default_rng(0)
    numbers = [[7, *rng.integers(0, 7, 5)] for _ in range(1000)]
    data = took([[(int(item), 10 * t) for t, item in enumerate(of_user)] for of_user in numbers], 12)
    loss = learnt(training_data(data), cell, steps=20).loss_TB
    assert loss[0].mean() < 0.1
    assert loss[1:].mean() > 1.0


# Rings of 40 items, so that nothing is taken twice, and 48 new users a step

STEPS = 40
USERS = 48 * STEPS + 16
RING = 40


@each_cell
def test_it_learns_what_the_time_since_the_last_event_says(cell: str) -> None:
    """After an hour the next item comes, after a minute the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        hours = rng.random(16) < 0.5
        items = rng.integers(RING) + np.cumsum(np.where(hours, 1, 2))
        times = np.cumsum(np.where(hours, 3600, 60))
        sequences.append(list(zip((items % RING).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, RING)), cell, steps=STEPS, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_time_before_the_last_event_said(cell: str) -> None:
    """Who had waited an hour for the last item takes the next one then, who had not the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        hours = rng.random(16) < 0.5
        times = np.cumsum(np.where(hours, 3600, 60))
        steps = np.concatenate([[0, 1], np.where(hours[1:-1], 1, 2)])
        items = rng.integers(RING) + np.cumsum(steps)
        sequences.append(list(zip((items % RING).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, RING)), cell, steps=STEPS, first=2).loss_TB
    assert loss[2:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_events_types_say(cell: str) -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2, (USERS, 16))
    items = rng.integers(0, RING, (USERS, 1)) + np.cumsum(np.concatenate([types[:, :1] * 0, types[:, :-1] + 1], 1), 1)
    sequences = [[(int(item) % RING, 10 * t) for t, item in enumerate(of_user)] for of_user in items]
    loss = learnt(training_data(took(sequences, RING, types.tolist())), cell, steps=STEPS, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


# Repeats, on users who were not learnt from


def own(rng: np.random.Generator, size: int) -> list[int]:
    return [int(item) for item in rng.permutation(40)[:size]]


def worth(fit: Learnt, chosen_S: Tensor) -> float:
    """The mean logit among what a user has had of some pairs, bool[S]."""
    return float(fit.logit_S[chosen_S].mean())


def features(fit: Learnt, place: int) -> Tensor:
    """[S] One of ``again.features`` of the pairs."""
    assert fit.asked.pairs.features is not None
    return fit.asked.pairs.features[:, place]


def of_histories(
    sequences: Sequence[Sequence[int]], pause: Callable[[int], int] = lambda _: 0
) -> list[list[tuple[int, int]]]:
    """An event every ten seconds, and ``pause`` more seconds before the event of this number."""
    return [[(int(item), 10 * t + pause(t)) for t, item in enumerate(items)] for items in sequences]


def test_it_learns_that_nothing_is_taken_twice() -> None:
    rng = np.random.default_rng(0)
    sequences = of_histories([rng.permutation(20)[:15].tolist() for _ in range(USERS)])
    fit = learnt(training_data(took(sequences, 20)), steps=STEPS)
    assert not fit.streams.repeats
    pairs = fit.asked.pairs
    assert (fit.log_p_TBI.flatten(0, 1)[pairs.rows, pairs.items] == -torch.inf).all()
    assert fit.loss_TB[14].mean() < np.log(6) + 0.2  # 6 of 20 are left, and nothing tells which


def test_it_learns_that_everything_is_taken_again() -> None:
    """Everyone has two items of their own, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 2)
        sequences.append([mine[rng.integers(2)] for _ in range(15)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=5)
    assert fit.streams.repeats
    assert fit.loss_TB[5:].mean() < 1.0  # one of two is log 2, one of forty log 40
    assert fit.again_TB[5:].mean() > 0.9


def test_it_learns_how_many_take_something_again() -> None:
    """Every other event is of the user's own two items, the others are of none that was taken."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        others = own(rng, 20)
        sequences.append([others[rng.integers(2)] if rng.random() < 0.5 else others.pop() for _ in range(15)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=8)
    assert fit.again_TB[8:].mean() == pytest.approx(0.5, abs=0.1)


def test_it_learns_that_people_take_again_what_they_took_long_ago() -> None:
    """Everyone takes one of the items of 8 to 11 events ago, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 12)
        for _ in range(12):
            oldest = [item for item in mine[-11:-7] if item not in mine[-7:]]
            mine.append(oldest[rng.integers(len(oldest))])
        sequences.append(mine)
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS, first=12)
    distance = features(fit, 1).exp().round()
    assert worth(fit, (distance >= 8) & (distance <= 11)) - worth(fit, distance < 8) > 0.4
    assert fit.loss_TB[12:].mean() < np.log(7)  # the history has 12


def test_it_learns_that_people_take_again_what_they_took_a_day_ago() -> None:
    """Two sessions, a day apart: the second has the items of the first, and no item is in a session twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 8)
        sequences.append([*mine, *rng.permutation(mine).tolist()])
    fit = learnt(training_data(took(of_histories(sequences, lambda t: 86_400 * (t // 8)), 40)), steps=STEPS)
    visits = features(fit, 2).expm1().round()
    assert worth(fit, visits == 1) - worth(fit, visits == 0) > 0.4
    assert fit.loss_TB[8:].mean() < 2.0 < np.log(8)


def test_it_learns_that_people_take_again_what_they_took_often() -> None:
    """Everyone has a favourite in half of the events, and takes no other item twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        favourite, *others = own(rng, 25)
        sequences.append([favourite if rng.random() < 0.5 else others.pop() for _ in range(24)])
    fit = learnt(training_data(took(of_histories(sequences), 40)), steps=STEPS)
    count = features(fit, COUNT).exp().round()
    assert min(worth(fit, count == 2), worth(fit, count >= 4)) - worth(fit, count == 1) > 0.4
    assert fit.loss_TB[8:].mean() < 0.7 * np.log(40)  # half a favourite, half anything: (log 2 + log 80) / 2


def test_it_learns_that_what_was_bought_is_not_taken_again() -> None:
    """Of two items looked at last, one was bought: it is the other that is looked at again."""
    rng = np.random.default_rng(0)
    sequences, types = [], []
    for _ in range(USERS):
        items, bought = own(rng, 20), []
        for t in range(0, 20, 4):
            bought += [buys := int(rng.integers(2)), 1 - buys, 0, 0]
            items[t + 2] = items[t + buys]
        sequences.append(items)
        types.append(bought)
    fit = learnt(training_data(took(of_histories(sequences), 40, types)), steps=STEPS)
    assert fit.streams.event_types == 2
    assert fit.asked.pairs.types is not None
    assert worth(fit, fit.asked.pairs.types == 1) - worth(fit, fit.asked.pairs.types == 2) > 0.4


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
