"""Many users at once are recommended what each would be alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from shared.data.arrays.features import Features
from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes.hrnn import batch_ranking
from shared.recipes.hrnn.batch_ranking import compute_ranks, find_best_items, fit_blend, predict_next_item
from shared.recipes.hrnn.config import EVENTS_READ, HrnnConfig
from shared.recipes.hrnn.counter_blend import CounterBlend
from shared.recipes.hrnn.counters import BlendWeights, Counters
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.sequence_packing import Streams, load_bags
from shared.recipes.hrnn.types import FeatureBags, Targets
from tests.recipes.networks import CELLS, some_bags
from tests.recipes.synthetic import histories_of, training_data
from tests.recipes.whole import bag, history_log_shares

ITEMS, HOUR = 60, 3600

CLUBS = ({"club": "red"}, {"club": "blue|red"}, {})
DEVICES = ({"device": "tv"}, {"device": "phone"}, {})


def shoppers(lengths: list[int], items: int = ITEMS) -> Histories:
    """Everyone takes few items again and again, with types; the user n has so many events, in sessions of about 20."""
    rng = np.random.default_rng(0)
    sequences = {}
    for user, length in enumerate(lengths):
        pauses = rng.choice([5, 50, 500, 50 * HOUR], length, p=[0.4, 0.4, 0.15, 0.05])
        times = 1_000_000 + np.cumsum(pauses)
        drawn = rng.integers(0, items, 20)[rng.integers(0, 20, length)]
        sequences[f"u{user:03}"] = [(f"i{item:04}", int(at)) for item, at in zip(drawn, times, strict=True)]
    histories = histories_of(sequences, unseen=tuple(f"i{item:04}" for item in range(items)))
    types = rng.integers(-1, 2, len(histories.items)).astype(np.int16)
    return replace(histories, event_types=types, event_type_names=["click", "buy"])


def described(histories: Histories) -> TrainingData:
    users, events = len(histories.user_ids), len(histories.items)
    return training_data(
        histories,
        users=[CLUBS[user % 3] for user in range(users)],
        contexts=[DEVICES[event % 3] for event in range(events)],
    )


def made(data: TrainingData, cell: str = "linear", item_features: int = 4) -> tuple[HrnnNetwork, Streams]:
    """A network whose every weight acts; its gates remember some hundred events, as a fresh one's do."""
    streams = Streams(data, np.ones(len(data.histories.items), np.float32))
    form = HrnnConfig(
        items=len(data.histories.item_ids),
        hidden=32,
        cell=cell,  # type: ignore[arg-type]
        event_types=streams.event_types,
        repeats=streams.repeats,
        item_features=item_features,
        user_features=data.users.size if data.users else 0,
        context_features=data.contexts.size if data.contexts else 0,
    )
    torch.manual_seed(0)
    network = HrnnNetwork(form)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if item_features:
        network.set_item_features(some_bags(form.items, item_features), torch.arange(form.items) % 5 == 0, 0.3)
    return network.fold_features(), streams


def of_row(features: Features | None, row: int) -> FeatureBags | None:
    if features is None:
        return None
    begin, end = features.offsets[row : row + 2]
    return bag(features.values[begin:end].tolist(), features.weights[begin:end].tolist())


def alone(network: HrnnNetwork, data: TrainingData, event: int, leaning: CounterBlend | None = None) -> Tensor:
    """log p_I for the user who is about to do this event, as a request computes it."""
    histories = data.histories
    user = int(np.searchsorted(histories.offsets, event, side="right")) - 1
    past = slice(int(histories.offsets[user]), event)
    return history_log_shares(
        network,
        torch.from_numpy(histories.items[past]).long(),
        torch.from_numpy(histories.timestamps[past]).double(),
        torch.from_numpy(histories.event_types[past]).long() + 1,
        float(histories.timestamps[event]),
        of_row(data.users, user),
        of_row(data.contexts, event),
        leaning,
    )


def assert_each_is_as_alone(network: HrnnNetwork, streams: Streams, data: TrainingData, events: list[int]) -> None:
    best = find_best_items(network, streams, np.array(events), 25)
    assert best.shape == (len(events), 25)
    for event, found in zip(events, best, strict=True):
        shares = alone(network, data, event)
        assert len(set(found.tolist())) == 25
        torch.testing.assert_close(shares[found], shares.topk(25).values, rtol=0, atol=1e-5)


def last_events(histories: Histories) -> list[int]:
    return (histories.offsets[1:] - 1).tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_each_user_is_recommended_what_a_request_would_be(cell: str) -> None:
    """With types, repeats, features of users and items, and contexts; histories of 0 to 300 events."""
    data = described(shoppers([1, 2, 3, 7, 30, 128, 129, 300, 20, 21]))
    network, streams = made(data, cell)
    assert streams.repeats
    assert streams.event_types == 2
    middle = int(data.histories.offsets[7]) + 100
    assert_each_is_as_alone(network, streams, data, [*last_events(data.histories), middle, middle + 150])


def test_without_anything_but_items_and_times() -> None:
    histories = shoppers([1, 5, 40, 200])
    data = training_data(replace(histories, event_type_names=[]))
    network, streams = made(data, item_features=0)
    assert_each_is_as_alone(network, streams, data, last_events(histories))


@pytest.mark.parametrize("cell", CELLS)
def test_of_very_long_histories_both_read_the_same_events(cell: str) -> None:
    lengths = [
        EVENTS_READ - 1,
        EVENTS_READ,
        EVENTS_READ + 1,
        EVENTS_READ + 2,
        EVENTS_READ + 500,
        2 * EVENTS_READ + 7,
        10,
    ]
    data = described(shoppers(lengths))
    network, streams = made(data, cell)
    with torch.no_grad():
        for layer in network.layers:  # what is read first, after no time at all, is written down and kept
            layer.time.weight[:, : 2 * layer.width] = 12.0
            layer.time.weight[0, : 2 * layer.width] = -2.0
    assert_each_is_as_alone(network, streams, data, last_events(data.histories))


def test_the_whole_of_a_long_history_is_known_to_have_been_taken() -> None:
    first = [("rare", 0)]
    histories = histories_of({"a": first + [(f"i{step % 7}", step) for step in range(1, EVENTS_READ + 100)]})
    data = training_data(histories)
    network, streams = made(data, item_features=0)
    rare = histories.item_ids.index("rare")
    with torch.no_grad():
        assert network.again is not None
        network.again.bias.weight[rare] = 1000.0
    event = len(histories.items) - 1
    assert find_best_items(network, streams, np.array([event]), 8)[0, 0] == rare
    assert alone(network, data, event).argmax() == rare
    network.config = replace(network.config, repeats=False)
    network.again = None
    assert (alone(network, data, event) == -torch.inf).all()  # all eight were taken


@pytest.mark.parametrize("unseen", [False, True])
def test_the_counters_are_the_same_in_any_company(unseen: bool) -> None:
    """Items and moments told by hand; fashion is looked at where it was counted, and no part of a request."""
    data = described(shoppers([1, 2, 3, 7, 30, 128, 129, 20]))
    network, streams = made(data)
    blend = BlendWeights(last=0.8, near=0.5, lately=-0.3, like=2.0, again_last=0.4, again_near=-0.6, again_lately=0.2)
    leaning = CounterBlend(Counters.count_events(data.histories, np.arange(8)), blend)
    events = [
        event for event in last_events(data.histories) if event in data.histories.offsets[:-1] or alone_at(data, event)
    ]
    best = find_best_items(network, streams, np.array(events), 25, unseen=unseen, blend=leaning)
    plain = find_best_items(network, streams, np.array(events), 25, unseen=unseen)
    assert (best != plain).any()
    for event, found in zip(events, best, strict=True):
        shares = alone(network, data, event, leaning).clone()
        if unseen:
            shares[had_before(data.histories, event)] = -torch.inf
        torch.testing.assert_close(shares[found], shares.topk(25).values, rtol=0, atol=1e-4)


def alone_at(data: TrainingData, event: int) -> bool:
    return bool(data.histories.timestamps[event] > data.histories.timestamps[event - 1])


def had_before(histories: Histories, event: int) -> npt.NDArray[np.int32]:
    user = np.searchsorted(histories.offsets, event, side="right") - 1
    return histories.items[histories.offsets[user] : event]


def test_fashion_is_what_was_known_a_while_before_a_query() -> None:
    """As a model knows it that is asked some time after its data end."""
    data = training_data(shoppers([30, 40, 50]))
    _, streams = made(data, item_features=0)
    counters = Counters.count_events(data.histories, np.arange(3))
    leaning = CounterBlend(counters, BlendWeights(fashion=(0.0, 1.5, 0.0)))
    places = torch.tensor([0, 20, 119])
    pairs = streams.build_queries(places).pairs
    new, again = leaning.compute_extra_logits(streams, places, pairs)
    stale = counters.compute_staleness(places.numpy())
    for row, (_, _, at) in enumerate(streams.iter_newest(places, 1)):
        np.testing.assert_allclose(new[row], 1.5 * counters.get_fashion(at - stale[row])[1], rtol=1e-5)
    assert not again.any()


def test_unseen_leaves_out_what_the_user_has_had() -> None:
    histories = shoppers([1, 4, 30, 200])
    data = training_data(histories)
    network, streams = made(data, item_features=0)
    events = np.array(last_events(histories))
    for event, found in zip(events, find_best_items(network, streams, events, 20, unseen=True), strict=True):
        user = np.searchsorted(histories.offsets, event, side="right") - 1
        had = histories.items[histories.offsets[user] : event]
        assert not np.isin(found, had).any()
        shares = alone(network, data, int(event)).clone()
        shares[had] = -torch.inf
        torch.testing.assert_close(shares[found], shares.topk(20).values, rtol=0, atol=1e-5)


def test_where_there_are_fewer_items_all_are_recommended() -> None:
    data = training_data(shoppers([3, 9], items=7))
    network, streams = made(data, item_features=0)
    best = find_best_items(network, streams, np.array([2, 5]), 25)
    assert [sorted(found) for found in best.tolist()] == [list(range(7))] * 2


def test_nobody_is_recommended_nothing() -> None:
    network, streams = made(training_data(shoppers([3, 9])), item_features=0)
    assert find_best_items(network, streams, np.zeros(0, np.int64), 25).shape == (0, 25)


def test_the_same_in_any_blocks_and_each_block_may_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_data(shoppers([5] * 20))
    network, streams = made(data, item_features=0)
    events = np.random.default_rng(0).permutation(100)
    whole = find_best_items(network, streams, events, 5)
    monkeypatch.setattr(batch_ranking, "LOGITS_AT_ONCE", 7 * ITEMS)
    blocks: list[None] = []
    np.testing.assert_array_equal(find_best_items(network, streams, events, 5, lambda: blocks.append(None)), whole)
    assert len(blocks) >= 100 // 7

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        find_best_items(network, streams, events, 5, stop)


def test_a_catalogue_too_large_for_many_at_once_is_ranked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_data(shoppers([5, 6]))
    network, streams = made(data, item_features=0)
    whole = find_best_items(network, streams, np.array([3, 8]), 5)
    monkeypatch.setattr(batch_ranking, "LOGITS_AT_ONCE", ITEMS // 2)
    np.testing.assert_array_equal(find_best_items(network, streams, np.array([3, 8]), 5), whole)


def test_bags_of_rows_are_what_training_reads() -> None:
    data = described(shoppers([4, 4, 4]))
    assert data.users is not None
    whole = load_bags(data.users)
    assert whole is not None
    for user in range(3):
        one, other = of_row(data.users, user), whole.select_rows(torch.tensor([user]))
        assert one is not None
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# Foretelling


def by_hand(
    network: HrnnNetwork, streams: Streams, data: TrainingData, unseen: bool
) -> dict[int, tuple[list[int], list[float]]]:
    """Before each moment the ranks of what is taken then, each item once, and how many there are."""
    histories = data.histories
    places = sorted(set(streams.find_moment_starts(torch.arange(len(histories.items))).tolist()))
    found = {}
    for place in places:
        user = int(np.searchsorted(histories.offsets, place, side="right")) - 1
        rest = slice(place, int(histories.offsets[user + 1]))
        at = histories.timestamps[rest] == histories.timestamps[place]
        taken, times = np.unique(histories.items[rest][at], return_counts=True)
        shares = alone(network, data, place).clone()
        if unseen:
            had = had_before(histories, place)
            times, taken = times[~np.isin(taken, had)], taken[~np.isin(taken, had)]
            shares[had] = -torch.inf
        ranks = [int((shares > shares[item]).sum()) + 1 for item in taken.tolist()]
        found[place] = ranks, times.tolist()
    return found


def test_each_event_is_predicted_from_before_its_moment_as_a_request_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all items, and what is new among what is new. In one stream: several are cut within histories."""
    monkeypatch.setattr(batch_ranking, "count_streams", lambda _: 1)
    monkeypatch.setattr(batch_ranking, "STEPS", 1000)
    histories = shoppers([1, 2, 30, 60, 90])
    # The last three events of a user are one moment.
    histories.timestamps[90:93] = histories.timestamps[90]
    data = described(histories)
    network, streams = made(data)
    found = predict_next_item(network, streams, np.arange(5), lambda: None, lists=True)
    means = []
    for unseen in (False, True):
        expected = by_hand(network, streams, data, unseen)
        ranks = np.array([rank for of_place, _ in expected.values() for rank in of_place])
        weights = np.array([count for _, counts in expected.values() for count in counts])
        means.append((weights / np.log2(1 + ranks)).sum() / weights.sum())
    assert [found.ndcg_by_scope["raw"], found.ndcg_by_scope["unseen"]] == pytest.approx(means, rel=1e-3)
    assert found.ndcg == pytest.approx(sum(means) / 2, rel=1e-3)
    expected = by_hand(network, streams, data, False)
    of_events: dict[int, list[int]] = {}
    for event, rank in zip(found.events.tolist(), found.ranks.tolist(), strict=True):
        of_events.setdefault(event, []).append(rank)
    firsts = set(histories.offsets[:-1].tolist())
    assert {place: sorted(ranks) for place, ranks in of_events.items()} == {
        place: sorted(ranks) for place, (ranks, _) in expected.items() if place not in firsts
    }
    assert 25 <= found.shown <= ITEMS


def test_predicting_is_the_same_in_any_blocks_and_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_data(shoppers([5, 30, 80] * 5))
    network, streams = made(data, item_features=0)
    whole = predict_next_item(network, streams, np.arange(15), lambda: None)
    monkeypatch.setattr(batch_ranking, "LOGITS_AT_ONCE", 7 * ITEMS)
    parts = predict_next_item(network, streams, np.arange(15), lambda: None)
    np.testing.assert_array_equal(parts.events, whole.events)
    np.testing.assert_array_equal(parts.ranks, whole.ranks)
    assert parts.ndcg == pytest.approx(whole.ndcg, rel=1e-6)
    assert whole.shown == 0


def test_a_rank_is_the_place_in_its_row() -> None:
    shares = torch.tensor([[0.1, 0.5, 0.2, -torch.inf], [3.0, 2.0, 1.0, 0.0]])
    targets = Targets(torch.tensor([0, 0, 0, 1]), torch.tensor([1, 0, 3, 3]), torch.ones(4))
    assert compute_ranks(shares, targets).tolist() == [1, 3, 4, 4]


# Leaning


def test_a_network_that_knows_nothing_predicts_better_with_the_counters() -> None:
    """Everyone goes round in a ring, of which the network has learnt nothing."""
    rng = np.random.default_rng(0)
    ring = {}
    for user in range(80):
        items = (rng.integers(ITEMS) + np.arange(25)) % ITEMS
        ring[f"u{user:03}"] = [(f"i{item:04}", 1_000_000 + 60 * t) for t, item in enumerate(items.tolist())]
    data = training_data(histories_of(ring))
    network, streams = made(data, item_features=0)
    users, validation = np.arange(60), np.arange(60, 80)
    counters = Counters.count_events(data.histories, users)
    blend = fit_blend(network, streams, validation, counters)
    assert blend.last > 0.5
    leaning = CounterBlend(counters, blend)
    alone_, leant = (
        predict_next_item(each, streams, validation, lambda: None, blend=leaning_)
        for each, leaning_ in ((network, None), (network.apply_blend(blend), leaning))
    )
    assert leant.ndcg > 2 * alone_.ndcg
    assert leant.ndcg > 0.8


def test_the_weights_are_told_by_a_part_of_the_moments_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_data(shoppers([30] * 10))
    network, streams = made(data, item_features=0)
    counters = Counters.count_events(data.histories, np.arange(5))
    whole = fit_blend(network, streams, np.arange(5, 10), counters)
    monkeypatch.setattr(batch_ranking, "MOST_NUMBERS", 100 * ITEMS)
    part = fit_blend(network, streams, np.arange(5, 10), counters)
    assert part != whole
    assert part == fit_blend(network, streams, np.arange(5, 10), counters)
    assert np.isfinite(part.values).all()
