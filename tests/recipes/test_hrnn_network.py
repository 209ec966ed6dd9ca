"""The network alone, with both cells: shapes, equivalences, gradients, and patterns that it must be able to learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn import softmax
from shared.recipes.hrnn.cpu import loss as swift
from shared.recipes.hrnn.network import (
    GAP_BUCKETS,
    LAYERS,
    SESSION_SECONDS,
    Bags,
    Candidates,
    Events,
    Form,
    LinearRecurrence,
    Network,
    Pairs,
    Spans,
    gap_buckets,
)
from shared.recipes.hrnn.recurrence import GatedScan, scan, scan_back
from tests.recipes.networks import (
    CELLS,
    PLAIN,
    RICH,
    learnt,
    shaken,
    some_bags,
    some_events,
    some_of,
    some_pairs,
    took,
)
from tests.recipes.synthetic import training_data

T, B, H, I = 24, 5, 32, 40  # noqa: E741

FORMS = [replace(form, cell=cell) for cell in CELLS for form in (PLAIN, RICH)]  # type: ignore[arg-type]


def named(form: Form) -> str:
    return f"{form.cell}-{'rich' if form.repeats else 'plain'}"


each_form = pytest.mark.parametrize("form", FORMS, ids=named)
each_cell = pytest.mark.parametrize("cell", CELLS)
one_stream_or_several = pytest.mark.parametrize("streams", [1, B])


@each_form
def test_shapes(form: Form) -> None:
    net = shaken(form)
    x, state = net(some_events(form), net.start(B))
    assert x.shape == (T, B, H)
    width = {"linear": 2 * H, "gru": H}[form.cell]
    assert state.shape == net.start(B).shape == (LAYERS, B, width)
    contexts = some_bags(T * B, form.context_features) if form.context_features else None
    q = net.query(x.flatten(0, 1), torch.zeros(T * B), contexts)
    assert q.shape == (T * B, H)
    assert net.logits(q, some_pairs(form, T * B)).shape == (T * B, I)
    assert net.items().shape == (I, H + 1)
    assert net.items(torch.tensor([3, I])).shape == (2, H + 1)


@each_form
@one_stream_or_several
def test_step_by_step_equals_the_whole_sequence(form: Form, streams: int) -> None:
    net = shaken(form)
    events = some_events(form, streams=streams)
    whole, last = net(events, net.start(streams))
    state = net.start(streams)
    for t in range(T):
        x, state = net(some_of(events, slice(t, t + 1)), state)
        torch.testing.assert_close(x[0], whole[t], rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


@each_form
@one_stream_or_several
def test_windows_that_hand_on_their_state_equal_one_long_window(form: Form, streams: int) -> None:
    net = shaken(form)
    events = some_events(form, streams=streams)
    whole, last = net(events, net.start(streams))
    state, parts = net.start(streams), []
    for window in (slice(0, 7), slice(7, 8), slice(8, T)):
        x, state = net(some_of(events, window), state)
        parts.append(x)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


@each_cell
def test_serving_without_gradients_equals_training(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    trained, _ = net(some_events(), net.start(B))
    with torch.inference_mode():
        served, _ = net(some_events(), net.start(B))
    torch.testing.assert_close(served, trained, rtol=0, atol=1e-6)


@each_cell
def test_a_user_knows_nothing_of_the_one_before(cell: str) -> None:
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    events = some_events()
    events.begins[10] = True
    x, _ = net(events, net.start(B))
    others = events.items.clone()
    others[:10] = (others[:10] + 1) % I
    other, _ = net(events._replace(items=others), net.start(B))
    torch.testing.assert_close(other[10:], x[10:], rtol=0, atol=0)
    assert not torch.allclose(other[:10], x[:10])


@each_cell
def test_a_pause_ends_the_session_and_not_the_user(cell: str) -> None:
    """Of the state that came in, a new session sees the user's half and a new user none."""
    net = shaken(replace(PLAIN, cell=cell))  # type: ignore[arg-type]
    torch.manual_seed(2)
    state = torch.randn_like(net.start(1))
    of_session = torch.zeros_like(state)
    of_session[..., : state.shape[-1] // 2] = torch.randn_like(state[..., : state.shape[-1] // 2])
    of_user = torch.randn_like(state) - of_session
    of_user[..., : state.shape[-1] // 2] = 0

    def acts(change: Tensor, before: int, begins: bool) -> bool:
        event = Events(torch.tensor([[3]]), torch.tensor([[before]]), torch.tensor([[begins]]))
        return not torch.equal(net(event, state)[0], net(event, state + change)[0])

    going_on, pause = SESSION_SECONDS, SESSION_SECONDS + 1
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
    later, _ = net(events, net.start(B))
    events.before[5] = 10
    sooner, _ = net(events, net.start(B))
    torch.testing.assert_close(later[:5], sooner[:5], rtol=0, atol=1e-6)
    assert (later[5:] - sooner[5:]).abs().amax() > 1e-3


def test_the_moment_of_the_request_acts() -> None:
    net = shaken()
    x = torch.randn(7, H)
    assert not torch.allclose(net.query(x, torch.zeros(7)), net.query(x, torch.full((7,), 86_400.0)))


def test_gaps_are_counted_in_powers_of_two() -> None:
    seconds = torch.tensor([-5, 0, 1, 2, 3, 6, 7, 3600, 10**12])
    assert gap_buckets(seconds).tolist() == [0, 0, 1, 1, 2, 2, 3, 11, GAP_BUCKETS - 1]
    assert gap_buckets(seconds.double()).tolist() == gap_buckets(seconds).tolist()


@each_cell
def test_types_users_and_contexts_act(cell: str) -> None:
    net = shaken(replace(RICH, cell=cell))  # type: ignore[arg-type]
    events = some_events(RICH)
    x, _ = net(events, net.start(B))
    assert events.types is not None
    of_other_types, _ = net(events._replace(types=(events.types + 1) % 4), net.start(B))
    assert not torch.allclose(of_other_types, x)
    of_other_users, _ = net(events._replace(users=some_bags(T * B, 4, seed=9)), net.start(B))
    assert not torch.allclose(of_other_users, x)
    x, after = x.flatten(0, 1), torch.zeros(T * B)
    q = net.query(x, after, some_bags(T * B, 6))
    assert not torch.allclose(net.query(x, after, some_bags(T * B, 6, seed=9)), q)
    assert not torch.allclose(net.query(x, after), q)


def test_bags_are_summed_with_their_weights() -> None:
    bags = Bags(torch.tensor([0, 2, 2, 3]), torch.tensor([1, 0, 1]), torch.tensor([0.5, 2.0, -1.0]))
    embedding = torch.nn.Embedding(2, 3)
    zeroth, first = embedding.weight
    expected = torch.stack([0.5 * first + 2 * zeroth, torch.zeros(3), -first])
    torch.testing.assert_close(bags.summed(embedding), expected)
    chosen = bags.of(torch.tensor([2, 1, 0, 0]))
    assert chosen.offsets.tolist() == [0, 1, 1, 3, 5]
    torch.testing.assert_close(chosen.summed(embedding), expected[[2, 1, 0, 0]])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    net = Network(PLAIN, dropout=0.2)
    torch.manual_seed(0)
    ones = torch.ones(1000, 333)
    dropped = net.drop(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.003)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.003)
    assert (dropped == 0).float().mean(1).std().item() == pytest.approx((0.2 * 0.8 / 333) ** 0.5, rel=0.15)
    assert not torch.equal(net.drop(ones), dropped)
    torch.manual_seed(0)
    assert torch.equal(net.drop(ones), dropped)
    net.eval()
    assert torch.equal(net.drop(ones), ones)


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
    torch.testing.assert_close(scan(a, b, h), by_hand(a, b, h))


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_doubling_backwards_is_the_adjoint(steps: int) -> None:
    torch.manual_seed(0)
    a, g = torch.rand(steps, 3, 4), torch.randn(steps, 3, 4)
    b = torch.randn(steps, 3, 4, requires_grad=True)
    (expected,) = torch.autograd.grad(by_hand(a, b, torch.randn(3, 4)), b, g)
    torch.testing.assert_close(scan_back(a, g.clone()), expected)


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


# The loss

QUERIES = 11


def asked(form: Form) -> tuple[Tensor, Pairs, Tensor, Tensor]:
    """q, pairs, targets, weights: a query without history, one without weight, targets in the history and not."""
    torch.manual_seed(5)
    q = torch.randn(QUERIES, H, requires_grad=True)
    pairs = some_pairs(form, QUERIES)
    targets, weights = torch.randint(0, form.items, (QUERIES,)), torch.rand(QUERIES)
    targets[5] = pairs.items[pairs.rows == 5][0]
    weights[4] = 0.0
    return q, pairs, targets, weights


def mean_cross_entropy(net: Network, q: Tensor, pairs: Pairs, targets: Tensor, weights: Tensor) -> Tensor:
    losses = functional.cross_entropy(net.logits(q, pairs), targets, reduction="none")
    return (losses * weights).sum() / weights.sum()


def wanted(net: Network, q: Tensor) -> list[Tensor]:
    of_features = [] if net.of_item is None else [net.of_item.weight]
    return [q, net.item.weight, net.bias, net.repeat.weight, net.repeat.bias, *net.ages, *of_features]


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
@pytest.mark.parametrize("at_once", [1, 3 * I, 1000 * I])
def test_the_loss_in_pieces_is_torchs_cross_entropy(monkeypatch: pytest.MonkeyPatch, form: Form, at_once: int) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    net = shaken(form)
    q, pairs, targets, weights = asked(form)
    loss = net.loss(q, pairs, targets, weights)
    plain = mean_cross_entropy(net, q, pairs, targets, weights)
    torch.testing.assert_close(loss, plain)
    gradients = zip(torch.autograd.grad(loss, wanted(net, q)), torch.autograd.grad(plain, wanted(net, q)), strict=True)
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_the_loss_in_half_precision_is_near(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    monkeypatch.setattr(softmax, "CACHE", 3 * I)
    net = shaken(form)
    q, pairs, targets, weights = asked(form)
    plain = mean_cross_entropy(net, q, pairs, targets, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net.loss(q, pairs, targets, weights)
    torch.testing.assert_close(loss, plain, rtol=0.02, atol=0.0)
    gradients = zip(torch.autograd.grad(loss, wanted(net, q)), torch.autograd.grad(plain, wanted(net, q)), strict=True)
    for ours, theirs in gradients:
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() <= 0.05 * theirs.norm()


@pytest.mark.parametrize("form", [PLAIN, RICH], ids=named)
def test_the_fast_loss_and_its_gradient_are_near(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    monkeypatch.setattr(swift, "PIECE", 3 * I)
    net = shaken(form)
    q, pairs, targets, weights = asked(form)
    found = []
    for net.fast in (False, True):
        loss = net.loss(q, pairs, targets, weights)
        found.append((loss, torch.autograd.grad(loss, wanted(net, q))))
    (exact, exact_gradients), (fast, fast_gradients) = found
    torch.testing.assert_close(fast, exact, rtol=3e-3, atol=0.0)
    for ours, theirs in zip(fast_gradients, exact_gradients, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() <= 0.05 * theirs.norm()


def test_the_fast_loss_of_a_whole_step_is_nearer_still() -> None:
    """What its exponential is wrong by, up to 6 % of each, cancels out over many items."""
    form = Form(items=1000, hidden=64)
    net = Network(form)
    torch.manual_seed(0)
    with torch.no_grad():
        net.item.weight *= 4.0
        net.bias.copy_(torch.randn(form.items + 1))
    q, pairs = torch.randn(512, 64, requires_grad=True), some_pairs(form, 512)
    targets, weights = torch.randint(0, form.items, (512,)), torch.rand(512)
    found = []
    for net.fast in (False, True):
        loss = net.loss(q, pairs, targets, weights)
        found.append((loss, torch.autograd.grad(loss, [q, net.item.weight, net.bias])))
    (exact, exact_gradients), (fast, fast_gradients) = found
    torch.testing.assert_close(fast, exact, rtol=1e-3, atol=0.0)
    for ours, theirs in zip(fast_gradients, exact_gradients, strict=True):
        assert (ours - theirs).norm() <= 0.01 * theirs.norm()


def test_the_gradient_of_the_fast_loss_is_scaled() -> None:
    net = shaken()
    net.fast = True
    q, pairs, targets, weights = asked(PLAIN)
    (once,) = torch.autograd.grad(net.loss(q, pairs, targets, weights), q)
    (thrice,) = torch.autograd.grad(3 * net.loss(q, pairs, targets, weights), q)
    torch.testing.assert_close(thrice, 3 * once)


def test_an_unlikely_target_that_was_hardly_a_candidate_has_a_finite_loss() -> None:
    """All of e^-64 for its logit and e^-27 for its share is less than bfloat16 has numbers for."""
    net = Network(PLAIN)
    net.fast = True
    q = torch.zeros(4, H).index_fill_(1, torch.tensor([0]), 8.0).requires_grad_()
    with torch.no_grad():
        net.item.weight[3] = -q[0]
    targets, nothing = torch.full((4,), 3), torch.zeros(0, dtype=torch.long)
    seldom = Candidates(torch.arange(I), torch.full((I,), -27.6))
    loss = net.loss(q, Pairs(nothing, nothing), targets, torch.ones(4), seldom)
    assert 80 < loss < 100
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, [q, net.item.weight, net.bias]))


def some_spans(streams: int, steps: int) -> tuple[Spans, Pairs]:
    """Spans, a few pairs beside them."""
    drawn = np.random.default_rng(0)
    spans = [
        (stream, int(item), *sorted(drawn.choice(steps + 1, 2, replace=False).tolist()))
        for stream in range(streams)
        for item in drawn.permutation(I)[: 6 * (stream != 1)]
    ]
    chosen = [row for row in range(streams * steps) if row % 4 == 0]
    items = [next(n for n in range(I) if (row // steps, n) not in {each[:2] for each in spans}) for row in chosen]
    return Spans(*torch.tensor(spans).T.contiguous(), steps=steps), Pairs(torch.tensor(chosen), torch.tensor(items))


@pytest.mark.parametrize("at_once", [1, 7 * I, 1000 * I])
@pytest.mark.parametrize("sampled", [False, True])
def test_spans_say_to_the_loss_what_pairs_do(monkeypatch: pytest.MonkeyPatch, at_once: int, sampled: bool) -> None:
    monkeypatch.setattr(softmax, "CACHE", at_once)
    monkeypatch.setattr(swift, "PIECE", at_once)
    net = shaken()
    streams, steps = 40, 6
    spans, pairs = some_spans(streams, steps)
    rows, order = torch.sort(torch.cat([pairs.rows, spans.flat()[0]]))
    flat = Pairs(rows, torch.cat([pairs.items, spans.flat()[1]])[order])
    q = torch.randn(streams * steps, H, requires_grad=True)
    targets, weights = torch.randint(0, I, (streams * steps,)), torch.rand(streams * steps)
    targets[3] = flat.items[flat.rows == 3][0]
    ids = torch.cat([torch.arange(0, I, 3), targets]).unique()
    candidates = Candidates(ids, -torch.rand(len(ids))) if sampled else None
    plain = net.loss(q, flat, targets, weights, candidates)
    expected = torch.autograd.grad(plain, wanted(net, q))
    for net.fast, near in ((False, 1e-5), (True, 0.05)):
        loss = net.loss(q, pairs, targets, weights, candidates, spans)
        torch.testing.assert_close(loss, plain, rtol=near / 5, atol=0.0)
        for ours, theirs in zip(torch.autograd.grad(loss, wanted(net, q)), expected, strict=True):
            assert (ours - theirs).norm() <= near * theirs.norm()


def test_logits_beyond_reach_are_learnt_exactly() -> None:
    net = shaken()
    q, pairs, targets, weights = asked(PLAIN)
    with torch.no_grad():
        q *= 100.0
    exact = net.loss(q, pairs, targets, weights)
    net.fast = True
    torch.testing.assert_close(net.loss(q, pairs, targets, weights), exact)


@each_cell
def test_half_precision_reads_about_the_same(cell: str) -> None:
    net = shaken(replace(RICH, cell=cell), by=0.05)  # type: ignore[arg-type]
    plain, _ = net(some_events(RICH), net.start(B))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, state = net(some_events(RICH), net.start(B))
    assert (half - plain).norm() < 0.05 * plain.norm()
    assert state.isfinite().all()


def test_a_query_without_any_weight_has_no_loss() -> None:
    q, pairs, targets, weights = asked(PLAIN)
    loss = shaken().loss(q, pairs, targets, torch.zeros_like(weights))
    (gradient,) = torch.autograd.grad(loss, q)
    assert loss.item() == 0.0
    assert (gradient == 0).all()


def test_a_logit_far_below_the_others_is_no_infinite_loss() -> None:
    net = shaken()
    with torch.no_grad():
        net.bias[3] = -1000.0
    q, pairs, targets, weights = asked(PLAIN)
    loss = net.loss(q, pairs, torch.full_like(targets, 3), weights)
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


@each_cell
def test_it_learns_what_the_time_since_the_last_event_says(cell: str) -> None:
    """After an hour the next item comes, after a minute the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(64):
        hours = rng.random(16) < 0.5
        items = rng.integers(8) + np.cumsum(np.where(hours, 1, 2))
        times = np.cumsum(np.where(hours, 3600, 60))
        sequences.append(list(zip((items % 8).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, 8)), cell, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_time_before_the_last_event_said(cell: str) -> None:
    """Who had waited an hour for the last item takes the next one then, who had not the one after the next."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(64):
        hours = rng.random(16) < 0.5
        times = np.cumsum(np.where(hours, 3600, 60))
        steps = np.concatenate([[0, 1], np.where(hours[1:-1], 1, 2)])
        items = rng.integers(8) + np.cumsum(steps)
        sequences.append(list(zip((items % 8).tolist(), times.tolist(), strict=True)))
    loss = learnt(training_data(took(sequences, 8)), cell, first=2).loss_TB
    assert loss[2:].mean() < 0.3 < np.log(2)


@each_cell
def test_it_learns_what_the_events_types_say(cell: str) -> None:
    rng = np.random.default_rng(0)
    types = rng.integers(0, 2, (64, 16))
    items = rng.integers(0, 8, (64, 1)) + np.cumsum(np.concatenate([types[:, :1] * 0, types[:, :-1] + 1], 1), 1)
    sequences = [[(int(item) % 8, 10 * t) for t, item in enumerate(of_user)] for of_user in items]
    loss = learnt(training_data(took(sequences, 8, types.tolist())), cell, first=1).loss_TB
    assert loss[1:].mean() < 0.3 < np.log(2)


# Repeats, on users who were not learnt from

STEPS = 40
USERS = 48 * STEPS + 16


def own(rng: np.random.Generator, size: int) -> list[int]:
    return [int(item) for item in rng.permutation(40)[:size]]


def worth(net: Network, of: int, place: int) -> float:
    """What a place of one of the four parts of the age of an item in the history is worth."""
    return float(net.ages[of][place].detach())


def test_it_learns_that_nothing_is_taken_twice() -> None:
    rng = np.random.default_rng(0)
    sequences = [[(int(item), 10 * t) for t, item in enumerate(rng.permutation(20)[:15])] for _ in range(USERS)]
    fit = learnt(training_data(took(sequences, 20)), steps=STEPS)
    assert not fit.streams.repeats
    assert fit.network.repeat(fit.q_NH).mean() < -1.0
    assert fit.loss_TB[14].mean() < np.log(10)  # 6 of 20 are left, and nothing tells which


def test_it_learns_that_everything_is_taken_again() -> None:
    """Everyone has two items of their own, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 2)
        sequences.append([(mine[rng.integers(2)], 10 * t) for t in range(15)])
    fit = learnt(training_data(took(sequences, 40)), steps=STEPS, first=5)
    assert fit.streams.repeats
    assert fit.loss_TB[5:].mean() < 1.0  # one of two is log 2, one of forty log 40


def test_it_learns_that_people_take_again_what_they_took_long_ago() -> None:
    """Everyone takes one of the items of 8 to 11 events ago, in an order that says nothing."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 12)
        for _ in range(12):
            oldest = [item for item in mine[-11:-7] if item not in mine[-7:]]
            mine.append(oldest[rng.integers(len(oldest))])
        sequences.append([(item, 10 * t) for t, item in enumerate(mine)])
    fit = learnt(training_data(took(sequences, 40)), steps=STEPS, first=12)
    of_eight_events = 3
    assert worth(fit.network, 0, of_eight_events) - max(worth(fit.network, 0, few) for few in range(3)) > 0.4
    assert fit.loss_TB[12:].mean() < np.log(7)  # the history has 12


def test_it_learns_that_people_take_again_what_they_took_a_day_ago() -> None:
    """Two sessions, a day apart: the second has the items of the first, and no item is in a session twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        mine = own(rng, 8)
        items = [*mine, *rng.permutation(mine).tolist()]
        sequences.append([(item, 10 * t + 86_400 * (t // 8)) for t, item in enumerate(items)])
    fit = learnt(training_data(took(sequences, 40)), steps=STEPS)
    in_the_session, a_day_ago = gap_buckets(torch.tensor([20, 86_400])).tolist()
    assert worth(fit.network, 1, a_day_ago) - worth(fit.network, 1, in_the_session) > 0.4
    assert fit.loss_TB[8:].mean() < 2.0 < np.log(8)


def test_it_learns_that_people_take_again_what_they_took_often() -> None:
    """Everyone has a favourite in half of the events, and takes no other item twice."""
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(USERS):
        favourite, *others = own(rng, 25)
        items = [favourite if rng.random() < 0.5 else others.pop() for _ in range(24)]
        sequences.append([(item, 10 * t) for t, item in enumerate(items)])
    fit = learnt(training_data(took(sequences, 40)), steps=STEPS)
    once, twice, four_times = (worth(fit.network, 2, place) for place in range(3))
    assert min(twice, four_times) - once > 0.4
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
        sequences.append([(item, 10 * t) for t, item in enumerate(items)])
        types.append(bought)
    fit = learnt(training_data(took(sequences, 40, types)), steps=STEPS)
    assert fit.streams.event_types == 2
    looked_at, and_bought = (worth(fit.network, 3, place) for place in (1, 2))
    assert looked_at - and_bought > 0.4


def test_ages_act_on_the_items_of_the_history_alone() -> None:
    form = replace(PLAIN, repeats=True)
    net = shaken(form)
    q, rows, items = torch.randn(1, H), torch.zeros(1, dtype=torch.long), torch.tensor([4])
    table = net.age_table()
    assert table is not None
    assert len(table) == int(np.prod(form.ages))
    one, other = (net.logits(q, Pairs(rows, items, torch.tensor([code])))[0] for code in (0, 777))
    assert (other - one)[4].item() == pytest.approx((table[777] - table[0]).item(), abs=1e-5)
    assert torch.equal(other[:4], one[:4])
    assert torch.equal(other[5:], one[5:])
