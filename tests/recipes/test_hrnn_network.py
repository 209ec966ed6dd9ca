"""The network alone: shapes, equivalences, and patterns that it must be able to learn. No training loop of ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from shared.recipes.hrnn import network
from shared.recipes.hrnn.network import SESSION_SECONDS, LoopScan, Network, doubling_scan, gap_buckets

T, B, H, I = 24, 5, 32, 40  # noqa: E741


def shaken(items: int = I, hidden: int = H) -> Network:
    """A network whose every weight acts: many start at zero."""
    torch.manual_seed(0)
    net = Network(items, hidden, dropout=0.0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net


def events(steps: int = T, streams: int = B) -> tuple[Tensor, Tensor, Tensor]:
    """items, seconds before and beginnings [T,B], with several users and sessions in each stream."""
    torch.manual_seed(1)
    begins = torch.rand(steps, streams) < 0.15
    begins[0] = True
    before = torch.randint(0, 3 * SESSION_SECONDS, (steps, streams)).masked_fill(begins, 0)
    return torch.randint(0, I, (steps, streams)), before, begins


def test_shapes() -> None:
    net = shaken()
    items, before, begins = events()
    x, state = net(items, before, begins, net.start(B))
    assert x.shape == (T, B, H)
    assert state.shape == net.start(B).shape == (network.LAYERS, B, 2 * H)
    q = net.query(x, torch.zeros(T, B))
    assert q.shape == (T, B, H)
    none = torch.zeros(0, dtype=torch.long)
    assert net.logits(q.flatten(0, 1), none, none).shape == (T * B, I)


def test_step_by_step_equals_the_whole_sequence() -> None:
    net = shaken()
    items, before, begins = events()
    whole, last = net(items, before, begins, net.start(B))
    state = net.start(B)
    for t in range(T):
        x, state = net.step(items[t], before[t], begins[t], state)
        torch.testing.assert_close(x, whole[t], rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


def test_windows_that_hand_on_their_state_equal_one_long_window() -> None:
    net = shaken()
    items, before, begins = events()
    whole, last = net(items, before, begins, net.start(B))
    state, parts = net.start(B), []
    for window in (slice(0, 7), slice(7, 8), slice(8, T)):
        x, state = net(items[window], before[window], begins[window], state)
        parts.append(x)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-5)


def test_serving_without_gradients_equals_training() -> None:
    net = shaken()
    items, before, begins = events()
    trained, _ = net(items, before, begins, net.start(B))
    with torch.inference_mode():
        served, _ = net(items, before, begins, net.start(B))
    torch.testing.assert_close(served, trained, rtol=0, atol=1e-5)


def test_nothing_of_one_user_reaches_the_next_in_the_stream() -> None:
    net = shaken()
    items, before, begins = events()
    begins[10] = True
    x, _ = net(items, before, begins, net.start(B))
    items[:10] = (items[:10] + 1) % I
    other, _ = net(items, before, begins, net.start(B))
    torch.testing.assert_close(other[10:], x[10:], rtol=0, atol=0)
    assert not torch.allclose(other[:10], x[:10])


def test_a_pause_ends_the_session_and_not_the_user() -> None:
    net = shaken()
    items, before, begins = events()
    begins[1:] = False
    before[:] = 60
    _, going_on = net(items, before, begins, net.start(B))
    before[-1] = SESSION_SECONDS + 1
    items_before = items.clone()
    items_before[:-1] = (items[:-1] + 1) % I
    _, one = net(items, before, begins, net.start(B))
    _, other = net(items_before, before, begins, net.start(B))
    session, user = slice(0, H), slice(H, 2 * H)
    torch.testing.assert_close(one[0, :, session], other[0, :, session], rtol=0, atol=0)
    assert not torch.allclose(one[0, :, user], other[0, :, user])
    assert not torch.allclose(going_on[0, :, session], one[0, :, session])


def test_the_moment_of_the_request_acts() -> None:
    net = shaken()
    items, before, begins = events()
    x, _ = net(items, before, begins, net.start(B))
    assert not torch.allclose(net.query(x, torch.zeros(T, B)), net.query(x, torch.full((T, B), 86_400.0)))


def test_gaps_are_counted_in_powers_of_two() -> None:
    seconds = torch.tensor([-5, 0, 1, 2, 3, 6, 7, 3600, 10**12])
    assert gap_buckets(seconds).tolist() == [0, 0, 1, 1, 2, 2, 3, 11, 31]


def test_both_scans_compute_the_recurrence() -> None:
    torch.manual_seed(0)
    a, b, h = torch.rand(9, 3, 4), torch.randn(9, 3, 4), torch.randn(3, 4)
    expected, state = [], h
    for t in range(9):
        state = a[t] * state + b[t]
        expected.append(state)
    torch.testing.assert_close(LoopScan.apply(a, b, h), torch.stack(expected))
    torch.testing.assert_close(doubling_scan(a, b, h), torch.stack(expected))


def test_the_scans_gradient_is_right() -> None:
    torch.manual_seed(0)
    a = torch.rand(6, 2, 3, dtype=torch.double, requires_grad=True)
    b = torch.randn(6, 2, 3, dtype=torch.double, requires_grad=True)
    h = torch.randn(2, 3, dtype=torch.double)
    assert torch.autograd.gradcheck(lambda a, b: LoopScan.apply(a, b, h), (a, b))


@pytest.mark.parametrize("at_once", [3 * I, 1000 * I])
def test_the_loss_in_pieces_is_torchs_cross_entropy(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(network, "CACHE", at_once)
    net = shaken()
    queries = 11
    q = torch.randn(queries, H, requires_grad=True)
    rows = torch.arange(queries).repeat_interleave(2)[3:]  # the first query has no history
    items = torch.arange(len(rows)) % I
    targets, weights = torch.randint(0, I, (queries,)), torch.rand(queries)
    weights[4] = 0.0
    loss = net.loss(q, rows, items, targets, weights)
    logits = net.logits(q, rows, items)
    plain = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
    torch.testing.assert_close(loss, plain)
    wanted = [q, net.item.weight, net.bias, net.repeat.weight, net.repeat.bias]
    for ours, theirs in zip(torch.autograd.grad(loss, wanted), torch.autograd.grad(plain, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def learn(net: Network, items: Tensor, steps: int, *, from_step: int = 0) -> tuple[list[float], Tensor]:
    """Adam on whole sequences [T,B], predicting each next item from ``from_step`` on: the losses, the last q."""
    begins = torch.zeros_like(items, dtype=torch.bool)
    begins[0] = True
    gaps = torch.full_like(items, 10).masked_fill(begins, 0)
    length, streams = len(items) - 1, items.shape[1]
    seen = torch.stack([functional.one_hot(items, net.bias.numel())[: t + 1].amax(0) for t in range(length)])
    rows, seen_items = seen.flatten(0, 1).nonzero(as_tuple=True)
    weights = (torch.arange(length) >= from_step).float().repeat_interleave(streams)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        x, _ = net(items[:-1], gaps[:-1], begins[:-1], net.start(streams))
        q = net.query(x, gaps[1:]).flatten(0, 1)
        loss = net.loss(q, rows, seen_items, items[1:].flatten(), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, q.detach()


def test_it_learns_a_cycle() -> None:
    torch.manual_seed(0)
    starts = torch.randint(0, 12, (1, 16))
    items = (starts + torch.arange(20)[:, None]) % 12
    losses, _ = learn(Network(12, 32, dropout=0.0), items, steps=60)
    assert losses[0] > 2.0
    assert losses[-1] < 0.1


def test_it_remembers_what_came_long_before() -> None:
    """Only the first item tells which of two comes last: a network that forgets cannot go below log 2."""
    torch.manual_seed(0)
    first = torch.arange(64) % 2
    items = torch.cat([first[None], torch.randint(4, 10, (20, 64)), first[None] + 2])
    losses, _ = learn(Network(10, 32, dropout=0.0), items, steps=60, from_step=20)
    assert losses[-1] < 0.1


def test_the_repeat_head_learns_that_nothing_is_taken_twice() -> None:
    torch.manual_seed(0)
    items = torch.stack([torch.randperm(20)[:15] for _ in range(32)], dim=1)
    net = Network(20, 32, dropout=0.0)
    _, q = learn(net, items, steps=60)
    assert net.repeat(q).mean().item() < -1.0


def test_the_repeat_head_learns_that_everything_is_taken_again() -> None:
    torch.manual_seed(0)
    # Everyone has two items of their own, in an order that says nothing.
    own = torch.stack([torch.randperm(20)[:2] for _ in range(32)], dim=1)
    items = own.gather(0, torch.randint(0, 2, (15, 32)))
    net = Network(20, 32, dropout=0.0)
    _, q = learn(net, items, steps=60)
    assert net.repeat(q).mean().item() > 1.0
