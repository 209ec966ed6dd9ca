"""SIMS: what the users of an item took as well, and what each hyperparameter does."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.data.histories import Histories, TooLittleData
from shared.recipes import RECIPES, evaluation
from shared.recipes.artifact import WEIGHTS
from shared.recipes.baskets import Baskets
from shared.recipes.contract import ArtifactError, Query
from shared.recipes.distribution import NEVER
from shared.recipes.sims import cointeractions as module
from shared.recipes.sims.cointeractions import cointeractions, neighbours
from shared.recipes.sims.scoring import Scorer
from shared.recipes.sims.training import within
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


def test_too_few_users_of_both_are_no_similarity(tmp_path: Path) -> None:
    histories = crowd((4, "ab"), (2, "ac"), (40, "dc"), (4, "de"))
    scorers = {
        fewest: scorer_of(tmp_path, histories, min_cointeraction_count=fewest, popularity_discount_factor="0.1")
        for fewest in ("0", "2", "3", "5", "10")
    }
    answers = {fewest: like(scorer, "a") for fewest, scorer in scorers.items()}
    assert answers["0"] == answers["2"] == "bcde"[:2] + "de"
    assert answers["3"] == "bdce"
    assert answers["5"] == answers["10"] == "dcbe"


def test_items_beyond_the_percentiles_are_neither_related_nor_popular(tmp_path: Path) -> None:
    histories = crowd((10, "abp"), (10, "cdp"), (40, "pe"), (1, "ez"))
    for high, least in (("1", "p"), ("0.85", "e")):
        scorer = scorer_of(tmp_path, histories, max_item_interaction_count_percentile=high)
        assert like(scorer, "?")[0] == least
    assert scorer.scores(Query(now=0.0, item_id="a"))[scorer.item_ids.index("p")] == 0.0
    assert like(scorer, "p")[0] == "e"
    rare = scorer_of(tmp_path, histories, min_item_interaction_count_percentile="0.3", min_cointeraction_count="1")
    common = scorer_of(tmp_path, histories, min_cointeraction_count="1")
    assert rare.scores(Query(now=0.0, item_id="e"))[-1] == 0.0 < common.scores(Query(now=0.0, item_id="e"))[-1]


@pytest.mark.parametrize(("low", "high", "left"), [("0", "1", "ababacbd"), ("0.5", "1", "ababab"), ("0", "0.5", "cd")])
def test_the_percentiles_are_those_of_the_items_that_were_taken(low: str, high: str, left: str) -> None:
    histories = took(u1="ab", u2="ab", u3="ac", u4="bd")
    baskets = Baskets.of(replace(histories, item_ids=[*histories.item_ids, "never"]), np.arange(4))
    kept = within(baskets, percentiles(low, high))
    assert "".join(histories.item_ids[item] for item in kept.items) == left
    assert kept.offsets[-1] == len(kept.items)
    assert (np.diff(kept.offsets) <= np.diff(baskets.offsets)).all()


def test_percentiles_that_leave_nothing_are_refused() -> None:
    baskets = Baskets.of(took(u1="ab", u2="ab", u3="ac", u4="bd"), np.arange(4))
    with pytest.raises(TooLittleData, match=r"No item is left between the interaction count percentiles 0\.5 and 0\.5"):
        within(baskets, percentiles("0.5", "0.5"))
    with pytest.raises(ValueError, match=r"min_item_interaction_count_percentile 0\.9 is above the maximum, 0\.1"):
        SIMS.settings({"featureTransformationParameters": percentiles("0.9", "0.1")})


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
    for item, near, counts in cointeractions(Baskets.of(histories, np.arange(30))):
        assert (np.diff(near) > 0).all()
        found[item, near] = counts
    np.testing.assert_array_equal(found, expected)


def test_only_the_nearest_are_kept() -> None:
    baskets = Baskets.of(took(u1="abcd", u2="abcd", u3="abc", u4="ab"), np.arange(4))
    near = neighbours(baskets, discount=0.0, fewest=1, most=2)
    assert [near.of(item)[0].tolist() for item in range(4)] == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert near.of(0)[1].tolist() == [4.0, 3.0]


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
    items = evaluation.related(scores, histories, events, 25)
    assert items.shape == (3, 19)
    assert sorted(asked) == sorted(set(histories.items[events - 1].tolist()))


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    _, artifact = train(tmp_path, crowd((10, "abp"), (10, "cdp"), (40, "pe")), SIMS, parameters=ALL_ITEMS)
    size = (artifact / WEIGHTS).stat().st_size
    (artifact / WEIGHTS).write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(artifact)
