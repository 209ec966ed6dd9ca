"""SIMS: what the users of an item took as well, and what each hyperparameter does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from safetensors.numpy import save_file

from shared.data.arrays.histories import Histories
from shared.recipes import RECIPES, evaluation
from shared.recipes.artifact import WEIGHTS
from shared.recipes.baskets import Baskets
from shared.recipes.distribution import NEVER
from shared.recipes.scoring_api import ArtifactError, Query
from shared.recipes.sims import cointeractions as module
from shared.recipes.sims.cointeractions import (
    LEAST_DOUBT,
    MOST_DOUBT,
    discount_popularity,
    estimate_doubt,
    find_neighbors,
    iter_cointeractions,
    select_newest_takers,
)
from shared.recipes.sims.scoring import Scorer
from shared.recipes.sims.training import find_taker_bounds, remove_rare_items
from tests.recipes.runs import NDCG, train
from tests.recipes.synthetic import histories_of

SIMS = RECIPES["aws-sims"]
ALL_ITEMS = {"min_item_interaction_count_percentile": "0", "max_item_interaction_count_percentile": "1"}


def took(**users: str) -> Histories:
    """Users and the items, a letter each, that they took in this order."""
    return histories_of({user: [(item, 10 * at) for at, item in enumerate(items)] for user, items in users.items()})


def crowd(*baskets: tuple[int, str], excluded: tuple[str, ...] = ()) -> Histories:
    """So many users of each basket."""
    numbered = [(f"{basket}{n:03}", basket) for count, basket in baskets for n in range(count)]
    return histories_of(
        {user: [(item, 10 * at) for at, item in enumerate(basket)] for user, basket in numbered}, excluded
    )


def scorer_of(folder: Path, histories: Histories, **parameters: str) -> Scorer:
    _, artifact = train(folder, histories, SIMS, parameters={**ALL_ITEMS, **parameters}, retrain_on_all_users=True)
    return Scorer.load(artifact)


def like(scorer: Scorer, item: str) -> str:
    """The items related to this one, the best first; what is never shown is left out."""
    scores = scorer.scores(Query(now=0.0, item_id=item))
    assert scores[scores >= 0].sum() == pytest.approx(1.0, abs=1e-5)
    order = np.argsort(-scores, kind="stable")
    return "".join(scorer.item_ids[place] for place in order if scores[place] >= 0)


def test_it_works(tmp_path: Path) -> None:
    """``p`` is popular everywhere; ``a`` and ``b`` belong together, and ``c`` and ``d``."""
    scorer = scorer_of(tmp_path, crowd((10, "abp"), (10, "cdp"), (40, "p")), popularity_discount_factor="1.0")
    assert like(scorer, "a") == "bpcd"
    assert like(scorer, "d") == "cpab"
    assert scorer.scores(Query(now=0.0, item_id="a"))[0] == NEVER
    assert [one.item_id for one in scorer.history("abp000")] == ["a", "b", "p"]


def test_an_unknown_item_is_answered_what_is_popular(tmp_path: Path) -> None:
    scorer = scorer_of(tmp_path, crowd((10, "abp"), (12, "cdp"), (40, "p")))
    popular = scorer.scores(Query(now=0.0, item_id="?"))
    np.testing.assert_allclose(popular, np.array([10, 10, 12, 12, 62]) / 106, rtol=1e-6)
    np.testing.assert_array_equal(scorer.scores(Query(now=0.0)), popular)


def test_the_discount_weighs_what_is_popular_against_what_is_related(tmp_path: Path) -> None:
    """Of 20 users of ``a`` 12 took ``p`` as most people do, and 8 took ``b`` as nobody else does."""
    histories = crowd((12, "ap"), (8, "ab"), (100, "p"))
    assert like(scorer_of(tmp_path, histories, popularity_discount_factor="0.0"), "a") == "pb"
    assert like(scorer_of(tmp_path, histories, popularity_discount_factor="1.0"), "a") == "bp"


@pytest.mark.parametrize(("fewest", "related"), [("0", "bc"), ("2", "bc"), ("3", "b"), ("4", "b"), ("5", "")])
def test_too_few_users_of_both_are_no_similarity(tmp_path: Path, fewest: str, related: str) -> None:
    """Beside ``a`` four took ``b``, which is as popular as ``e``, and two took ``c``, which is as popular as ``d``."""
    histories = crowd((4, "ab"), (2, "ac"), (40, "dc"), (2, "d"), (4, "de"), (4, "c"))
    scorer = scorer_of(tmp_path, histories, min_cointeraction_count=fewest)
    _, b, c, d, e = scorer.scores(Query(now=0.0, item_id="a"))
    assert (b > e) == ("b" in related)
    assert (c > d) == ("c" in related)
    assert b >= e


def test_a_rare_item_is_known_by_its_popularity_alone(tmp_path: Path) -> None:
    """``z`` was taken with ``a`` alone, and seldom."""
    histories = crowd((10, "abp"), (10, "cdp"), (40, "pe"), (4, "az"))
    rare = scorer_of(tmp_path, histories, min_item_interaction_count_percentile="0.2")
    common = scorer_of(tmp_path, histories)
    z, p = ([scorer.scores(Query(now=0.0, item_id="a"))[at] for scorer in (common, rare)] for at in (6, 5))
    assert z[0] / p[0] > 1.5 * z[1] / p[1] > 0
    assert like(rare, "z") == like(rare, "?").replace("z", "")


def test_of_an_item_that_many_took_the_newest_takers_count(tmp_path: Path) -> None:
    """``p`` went with ``a``, and goes with ``b``: nine tenths of the interactions are with items that fewer took."""
    users = {f"u{n:03}": [("a" if n < 60 else "b", n), ("p", n + 1)] for n in range(100)}
    others = {
        f"v{n:03}": [("cdefghijkl"[n % 10], 500), ("mnopqrstuv".replace("p", "w")[n % 10], 501)] for n in range(600)
    }
    histories = histories_of(users | others)
    for high, first in (("1", "a"), ("0.5", "b")):
        scorer = scorer_of(tmp_path, histories, max_item_interaction_count_percentile=high)
        assert like(scorer, "p")[0] == first
        assert like(scorer, "a")[0] == "p"


@pytest.mark.parametrize(
    ("low", "high", "least", "most"),
    [("0", "1", 1, 6), ("0.1", "0.9", 1, 6), ("0.2", "0.7", 3, 6), ("0.11", "0.4", 3, 3), ("0.5", "0.5", 6, 6)],
)
def test_the_percentiles_are_those_of_the_interactions(low: str, high: str, least: int, most: int) -> None:
    """One of the ten is with an item that one took, three with one that three took, six with one that six took."""
    assert find_taker_bounds(np.array([3, 0, 6, 1]), percentiles(low, high)) == (least, most)


def test_rare_items_leave_the_baskets_of_everybody() -> None:
    histories = took(u1="ab", u2="ab", u3="ac", u4="bd")
    kept = remove_rare_items(Baskets.collect(histories, np.arange(4)), 2)
    assert "".join(histories.item_ids[item] for item in kept.items) == "ababab"
    assert np.diff(kept.offsets).tolist() == [2, 2, 1, 1]


def test_the_newest_takers_are_those_who_came_last() -> None:
    baskets = Baskets.collect(took(u1="ab", u2="ab", u3="ac", u4="bd"), np.arange(4))
    assert select_newest_takers(baskets, np.array([4, 3, 2, 1]), 3).all()
    kept = select_newest_takers(baskets, np.array([1, 4, 2, 3]), 2)
    assert kept.tolist() == [False, False, True, True, True, True, True, True]


def test_percentiles_that_cross_are_refused() -> None:
    with pytest.raises(ValueError, match=r"min_item_interaction_count_percentile 0\.9 is above the maximum, 0\.1"):
        SIMS.resolve_parameters({"featureTransformationParameters": percentiles("0.9", "0.1")})


def percentiles(low: str, high: str) -> dict[str, str]:
    return {"min_item_interaction_count_percentile": low, "max_item_interaction_count_percentile": high}


def test_users_beyond_the_percentiles_do_not_count(tmp_path: Path) -> None:
    robots = [f"ax{n:03}" for n in range(9)]
    histories = crowd((9, "ax"), (5, "ab"), (20, "cd"), excluded=tuple(robots))
    assert like(scorer_of(tmp_path, histories), "a")[0] == "b"
    assert (
        like(scorer_of(tmp_path, crowd((9, "ax"), (5, "ab"), (20, "cd")), min_cointeraction_count="6"), "a")[0] == "x"
    )


@pytest.mark.parametrize("pairs_at_once", [1, 50, 2**21])
@pytest.mark.parametrize("dense", [0, 4, 10**6])
def test_cointeractions_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, pairs_at_once: int, dense: int) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs_at_once)
    monkeypatch.setattr(module, "DENSE", dense)
    rng = np.random.default_rng(0)
    taken = rng.random((30, 12)) < 0.3
    taken[:, 5] = False
    sequences = {
        f"u{user:02}": [(f"i{item:02}", item) for item in np.flatnonzero(row)] for user, row in enumerate(taken)
    }
    histories = histories_of(sequences, unseen=tuple(f"i{item:02}" for item in range(12)))
    expected = taken.T.astype(int) @ taken.astype(int)
    found = np.zeros_like(expected)
    for item, near, counts in iter_cointeractions(Baskets.collect(histories, np.arange(30))):
        assert (np.diff(near) > 0).all()
        found[item, near] = counts
    np.testing.assert_array_equal(found, expected)


def test_only_the_nearest_are_kept() -> None:
    baskets = Baskets.collect(took(u1="abcd", u2="abcd", u3="abc", u4="ab"), np.arange(4))
    shares = baskets.takers / baskets.takers.sum()
    near = find_neighbors(baskets, discount_popularity(shares, 0.0), np.ones(13, np.bool_), fewest=1, most=2)
    assert [near.get_neighbors(item)[0].tolist() for item in range(4)] == [[1, 2], [0, 2], [0, 1], [0, 1]]
    # All 9 that others took with a is what everybody took beside it.
    np.testing.assert_allclose(near.get_neighbors(0)[1], shares[[1, 2]], rtol=1e-6)


def test_it_is_asked_about_the_last_item_of_the_input_and_finds_what_follows(tmp_path: Path) -> None:
    """Everybody goes from one item to its partner: the one foretells the other."""
    rng = np.random.default_rng(0)
    partners = list("abcdefghijklmnopqrst")
    sequences = {
        f"u{user:02}": [
            (item, 100 * step)
            for step, item in enumerate(
                itertools.chain.from_iterable(
                    (partners[2 * pair], partners[2 * pair + 1]) for pair in rng.permutation(10)[:4]
                )
            )
        ]
        for user in range(80)
    }
    trained, _ = train(tmp_path, histories_of(sequences), SIMS, parameters=ALL_ITEMS)
    assert trained.metrics[NDCG] > 0.9
    assert trained.metrics[NDCG] > 2 * trained.baseline[NDCG]
    histories = histories_of(sequences)
    asked: list[int] = []

    def scores(item: int) -> np.ndarray:
        asked.append(item)
        return np.arange(20, dtype=np.float32)

    events = histories.offsets[1:4] - 1
    items = evaluation.recommend_related(scores, histories, events, 25)
    assert items.shape == (3, 19)
    assert sorted(asked) == sorted(set(histories.items[events - 1].tolist()))


def sessions(rng: np.random.Generator) -> dict[str, list[int]]:
    """Visits of a few clicks within one of 40 shelves, each with things that are popular on it."""
    shelves = np.arange(400).reshape(40, 10)
    return {
        f"u{user:04}": np.concatenate(
            [drawn(rng, shelves[shelf], 5) for shelf in rng.choice(40, 2, p=zipf(40))]
        ).tolist()
        for user in range(1000)
    }


def weekly_baskets(rng: np.random.Generator) -> dict[str, list[int]]:
    """Ten things a week: what is popular with everybody, and what is with one of ten kinds of household."""
    shelves = np.arange(100, 300).reshape(10, 20)
    taken = {}
    for user in range(400):
        shares = np.zeros(300)
        shares[:100] = 0.7 / (np.arange(100) + 10)
        shares[shelves[user % 10]] = 0.3 / (np.arange(20) + 3)
        weeks = [rng.choice(300, 10, replace=False, p=shares / shares.sum()) for _ in range(8)]
        taken[f"u{user:04}"] = np.concatenate(weeks).tolist()
    return taken


def airlines(rng: np.random.Generator) -> dict[str, list[int]]:
    """A hundred items, a few of them everywhere, the others in a region. Most people are seen once or twice."""
    regions = np.arange(10, 100).reshape(10, 9)
    return {
        f"u{user:04}": [
            int(drawn(rng, np.arange(10) if rng.random() < 0.3 else regions[user % 10], 1)[0])
            for _ in range(rng.geometric(0.4))
        ]
        for user in range(2000)
    }


def zipf(many: int) -> np.ndarray:
    weights: np.ndarray = 1 / np.arange(1, many + 1)
    weights /= weights.sum()
    return weights


def drawn(rng: np.random.Generator, items: np.ndarray, many: int) -> np.ndarray:
    return rng.choice(items, many, p=zipf(len(items)))


USE_CASES = [
    "aws-vod-because-you-watched-x",
    "aws-ecomm-customers-who-viewed-x-also-viewed",
    "aws-ecomm-frequently-bought-together",
]


@pytest.mark.parametrize("name", ["aws-sims", *USE_CASES])
@pytest.mark.parametrize("kind", [sessions, weekly_baskets, airlines])
def test_by_default_it_is_above_popularity(
    tmp_path: Path, name: str, kind: Callable[[np.random.Generator], dict[str, list[int]]]
) -> None:
    histories = histories_of(
        {
            user: [(f"i{item:03}", 100 * at) for at, item in enumerate(items)]
            for user, items in kind(np.random.default_rng(0)).items()
        }
    )
    trained, _ = train(tmp_path, histories, RECIPES[name])
    assert trained.metrics[NDCG] > 1.03 * trained.baseline[NDCG]
    assert trained.metrics["coverage"] > 1.5 * trained.baseline["coverage"]


def test_where_items_tell_nothing_of_each_other_there_is_popularity(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alone = Baskets.collect(
        numbered({f"u{user:03}": drawn(rng, np.arange(60), 12) for user in range(300)}), np.arange(300)
    )
    shelves = np.arange(60).reshape(12, 5)
    together = Baskets.collect(
        numbered({f"u{user:03}": drawn(rng, shelves[user % 12], 12) for user in range(300)}), np.arange(300)
    )
    everybody = [np.ones(len(baskets.items), np.bool_) for baskets in (alone, together)]
    assert estimate_doubt(alone, everybody[0]) > 5 * LEAST_DOUBT
    assert estimate_doubt(together, everybody[1]) == LEAST_DOUBT
    assert estimate_doubt(Baskets.collect(took(u1="a", u2="b"), np.arange(2)), np.ones(2, np.bool_)) == MOST_DOUBT
    scorer = scorer_of(tmp_path, numbered({f"u{user:03}": drawn(rng, np.arange(60), 12) for user in range(300)}))
    popular, related = (scorer.scores(Query(now=0.0, item_id=item)) for item in (None, "i030"))
    assert set(np.argsort(-related)[:5]) == set(np.argsort(-popular)[:5])


def numbered(taken: dict[str, np.ndarray]) -> Histories:
    return histories_of(
        {user: [(f"i{item:03}", at) for at, item in enumerate(items.tolist())] for user, items in taken.items()}
    )


def test_a_model_of_before_is_still_answered_by(tmp_path: Path) -> None:
    """It holds neighbours alone, which stand ahead of what is popular."""
    _, artifact = train(tmp_path, crowd((10, "abp"), (10, "cdp"), (40, "p")), SIMS, parameters=ALL_ITEMS)
    old: dict[str, np.ndarray] = {
        "offsets": np.array([0, 1, 2, 2, 2, 2], np.int64),
        "items": np.array([1, 0], np.int32),
        "weights": np.array([3.0, 3.0], np.float32),
    }
    save_file(old, artifact / WEIGHTS)
    model = orjson.loads((artifact / "model.json").read_bytes())
    model["files"][WEIGHTS] = (artifact / WEIGHTS).stat().st_size
    (artifact / "model.json").write_bytes(orjson.dumps(model))
    scorer = Scorer.load(artifact)
    assert like(scorer, "a")[:2] == "bp"
    assert like(scorer, "c")[0] == "p"


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, crowd((10, "abp"), (10, "cdp"), (40, "pe")), SIMS, parameters=ALL_ITEMS)
    size = (artifact / WEIGHTS).stat().st_size
    (artifact / WEIGHTS).write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(artifact)
