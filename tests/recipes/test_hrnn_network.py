"""The network alone, with both cells: shapes, sequences in parts, and the inputs that act."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.network import GAP_BUCKETS, LAYERS, HrnnNetwork
from shared.recipes.hrnn.time_buckets import LEAST_MET, bucket_gaps, find_nearest_known
from shared.recipes.hrnn.types import Events, FeatureBags
from shared.recipes.request_time import SESSION_SECONDS
from tests.recipes.networks import (
    PLAIN,
    RICH,
    B,
    H,
    I,
    T,
    each_cell,
    each_form,
    one_stream_or_several,
    shaken,
    some_bags,
    some_events,
    some_known,
    some_of,
    some_pairs,
)


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


@each_cell
def test_half_precision_reads_about_the_same(cell: str) -> None:
    net = shaken(replace(RICH, cell=cell), by=0.05)  # type: ignore[arg-type]
    plain, _ = net(some_events(RICH), net.create_state(B))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, state = net(some_events(RICH), net.create_state(B))
    assert (half - plain).norm() < 0.05 * plain.norm()
    assert state.isfinite().all()
