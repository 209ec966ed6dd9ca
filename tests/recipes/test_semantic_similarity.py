"""Semantic-Similarity: vectors from texts, their ranking and items that come later."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.histories import DataRefused
from shared.data.arrays.item_texts import ItemTexts
from shared.recipes.distribution import NEVER
from shared.recipes.scoring_api import ArtifactError, NewItem, Query, RankingInfluence
from shared.recipes.semantic_similarity import lexical, training
from shared.recipes.semantic_similarity.ranking import compute_freshness, compute_popularity
from shared.recipes.semantic_similarity.scoring import Scorer
from shared.recipes.semantic_similarity.sparse import SparseRows, compute_right_singular_vectors
from shared.recipes.semantic_similarity.text_features import hash_ngrams, split_words
from shared.recipes.training_api import TrainingStopped
from tests.recipes.books import BOOKS, COLUMNS, SEMANTIC, SUBJECTS, books, find_related, make_texts, subject
from tests.recipes.runs import train


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("books"), books(), SEMANTIC)[1]


@pytest.fixture(scope="module")
def scorer(artifact: Path) -> Scorer:
    return Scorer.load(artifact)


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Star Wars: Episode IV (1977)", ["star", "wars", "episode", "iv", "1977"]),
        ("Le Fabuleux Destin d'Amélie ＦＵＬＬ", ["le", "fabuleux", "destin", "d", "amelie", "full"]),
        ("ВОЙНА и мир, Αθήνα", ["воина", "и", "мир", "αθηνα"]),
        ("千と千尋", ["千", "と", "千", "尋", "千と", "と千", "千尋"]),
        ("गरम चाय", ["गरम", "चाय"]),
        ("올드보이 2003", ["올드보이", "2003"]),
        ("see https://shop.example/a?b=c now", ["see", "now"]),
        ("\ud800 !?", []),
    ],
)
def test_words_of_any_language_are_found(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_forms_of_a_word_share_ngrams_and_numbers_have_none() -> None:
    assert len(set(hash_ngrams("sailing")) & set(hash_ngrams("sailings"))) > 10
    assert hash_ngrams("1977") == []


# Linear algebra


def test_sparse_products_equal_dense_ones() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((30, 17)).astype(np.float32) * (rng.random((30, 17)) < 0.2)
    dense[[3, 4, 29]] = 0.0
    rows, columns = np.nonzero(dense)
    sparse = SparseRows.from_lengths(
        np.bincount(rows, minlength=30), columns.astype(np.int32), dense[rows, columns].astype(np.float32)
    )
    right, left = rng.standard_normal((17, 5)).astype(np.float32), rng.standard_normal((30, 5)).astype(np.float32)
    np.testing.assert_allclose(sparse.multiply(right), dense @ right, atol=1e-5)
    np.testing.assert_allclose(sparse.transpose(17).multiply(left), dense.T @ left, atol=1e-5)


def test_the_randomised_svd_finds_the_singular_vectors() -> None:
    rng = np.random.default_rng(0)
    left, _ = np.linalg.qr(rng.standard_normal((80, 40)))
    right, _ = np.linalg.qr(rng.standard_normal((50, 40)))
    matrix = (left * 0.8 ** np.arange(40) @ right.T).astype(np.float32)
    found = compute_right_singular_vectors(lambda x: matrix @ x, lambda y: matrix.T @ y, 50, 8, rng)
    np.testing.assert_allclose(np.abs(np.sum(found * right[:, :8], axis=0)), 1.0, atol=1e-3)


def test_the_svd_of_a_matrix_of_lower_rank_has_its_rank() -> None:
    matrix = np.outer(np.arange(1, 9), np.arange(1, 6)).astype(np.float32)
    rng = np.random.default_rng(0)
    found = compute_right_singular_vectors(lambda x: matrix @ x, lambda y: matrix.T @ y, 5, 4, rng)
    assert found.shape == (5, 1)


# Neighbours


def test_items_of_a_subject_are_near_each_other(scorer: Scorer) -> None:
    shares = [
        np.mean([subject(found) == subject(book) for found in find_related(scorer, book)]) for book in scorer.item_ids
    ]
    assert np.mean(shares) > 0.9  # chance is 1 / SUBJECTS


def test_the_requested_item_is_hidden(scorer: Scorer) -> None:
    assert scorer.scores(Query(now=0.0, item_id="b007"))[7] == NEVER


def test_an_unknown_item_is_answered_with_popularity(scorer: Scorer) -> None:
    assert find_related(scorer, "?", 2) == ["b000", "b001"]


def test_a_forgotten_word_counts_by_its_parts() -> None:
    rows = [["sailing boats", "", ""], ["chess openings", "", ""], ["cooking pasta", "", ""]] * 5
    vectorizer = lexical.learn_vectorizer(COLUMNS, rows)
    vectors = vectorizer.embed([["sailings", "", ""], *rows[:3], ["", "", ""]])
    assert (vectors[1:4] @ vectors[0]).argmax() == 0
    assert not vectors[4].any()


def test_texts_in_chinese_are_compared(tmp_path: Path) -> None:
    plots = ["船长驾驶帆船出海航行", "厨师在厨房里烹饪美食"]
    rows = [[f"第{place}卷", f"{plots[place % 2]}{'一二三四五六七八'[place % 8]}", ""] for place in range(24)]
    scorer = Scorer.load(train(tmp_path, books(rows), SEMANTIC)[1])
    assert {int(book[1:]) % 2 for book in find_related(scorer, "b005", 8)} == {1}


def test_an_item_without_text_is_answered_with_popularity(tmp_path: Path) -> None:
    rows = [["", "", ""], *make_texts()[:60]]
    scorer = Scorer.load(train(tmp_path, books(rows), SEMANTIC)[1])
    assert find_related(scorer, "b000", 2) == ["b001", "b002"]


def test_a_catalogue_of_one_item_has_no_neighbours(tmp_path: Path) -> None:
    scorer = Scorer.load(train(tmp_path, books([["One", "alone", ""]], taken=False), SEMANTIC)[1])
    assert scorer.scores(Query(now=0.0, item_id="b000")).tolist() == [NEVER]


# Ranking influence


def test_an_influence_of_one_decides_the_order(scorer: Scorer) -> None:
    freshest = find_related(scorer, "b007", 20, influence=RankingInfluence(freshness=1.0))
    assert freshest == [f"b{book:03}" for book in range(BOOKS * SUBJECTS - 1, BOOKS * SUBJECTS - 21, -1)]
    popular = find_related(scorer, "b007", 3, influence=RankingInfluence(popularity=1.0))
    # The first two books have equally many interactions, and the more similar one comes first.
    assert set(popular[:2]) == {"b000", "b001"}
    assert popular[2] == "b002"


def test_more_influence_makes_lists_fresher_and_less_similar(scorer: Scorer) -> None:
    def measure(freshness: float) -> tuple[float, float]:
        lists = [
            (book, find_related(scorer, book, influence=RankingInfluence(freshness=freshness)))
            for book in ("b007", "b050", "b101", "b150")
        ]
        age = np.mean([int(found[1:]) for _, listed in lists for found in listed])
        return float(age), float(np.mean([subject(f) == subject(book) for book, listed in lists for f in listed]))

    measured = [measure(freshness) for freshness in (0.0, 0.3, 0.6, 1.0)]
    assert measured == sorted(measured, key=lambda pair: (pair[0], -pair[1]))
    assert measured[0][0] + 30 < measured[-1][0]
    assert measured[0][1] > measured[-1][1] + 0.5


def test_influence_orders_the_neighbourhood_alone(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.recipes.semantic_similarity.ranking.NEIGHBORHOOD", 12)
    plain = find_related(scorer, "b007", 40)
    fresh = find_related(scorer, "b007", 40, influence=RankingInfluence(freshness=1.0))
    assert fresh[:12] == sorted(plain[:12], reverse=True)
    assert fresh[12:] == plain[12:]


def test_freshness_and_popularity_run_from_0_to_1() -> None:
    assert compute_freshness(np.array([5, 1, 1, 9, 7])).tolist() == [0.5, 0.0, 0.0, 1.0, 0.75]
    assert compute_popularity(np.array([0, 1, 3])).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert compute_popularity(np.zeros(2, np.int64)).tolist() == [0.0, 0.0]


# Items that come later


def test_items_that_come_later_are_found_and_asked_for(scorer: Scorer) -> None:
    plot = make_texts()[3][1]
    later = [
        NewItem("b0035", {"name": "Later", "PLOT": plot, "genres": "Book"}, at=1e9),
        NewItem("a", {"NAME": "Last", "PLOT": plot}, at=1e9),
        NewItem("z", {"NAME": "First", "PLOT": plot, "CREATION_TIMESTAMP": 0}, at=1e9),
    ]
    updated = scorer.with_items(later).with_items(later[:1])
    assert list(updated.item_ids) == sorted([*scorer.item_ids, "a", "z", "b0035"])
    for item in later:
        others = {"a", "z", "b0035"}
        assert {subject(found) for found in find_related(updated, item.item_id, 5) if found not in others} <= {3}
        assert item.item_id in find_related(updated, "b003", BOOKS)
    assert find_related(updated, "b003", 2, influence=RankingInfluence(freshness=1.0))[0] != "z"
    assert "z" not in scorer.item_ids
    assert find_related(updated, "?", 2) == ["b000", "b001"]


def test_an_item_with_another_text_moves(scorer: Scorer) -> None:
    updated = scorer.with_items([NewItem("b000", {"PLOT": make_texts()[4][1]}, at=1e9)])
    assert len(updated.item_ids) == len(scorer.item_ids)
    assert "b000" in find_related(updated, "b004", 3)
    assert {subject(found) for found in find_related(updated, "b000", 5)} == {4}
    back = updated.with_items(
        [NewItem("b000", dict(zip(("NAME", "PLOT", "GENRES"), make_texts()[0], strict=True)), at=1e9)]
    )
    assert find_related(back, "b000") == find_related(scorer, "b000")


def test_an_item_that_is_known_already_changes_nothing(scorer: Scorer) -> None:
    row = dict(zip(("NAME", "PLOT", "GENRES"), make_texts()[8], strict=True))
    assert scorer.with_items([NewItem("b008", row, at=1e9), NewItem("", row, at=1e9)]) is scorer


def test_ids_of_an_extended_catalogue_are_found(scorer: Scorer) -> None:
    texts = make_texts()[0][1]
    updated = scorer.with_items([NewItem(item_id, {"PLOT": texts}, 0) for item_id in ("b0", "b1795", "ü", "B", "b1")])
    ids = updated.item_ids
    assert list(ids) == sorted(ids)
    assert [ids[place] for place in range(len(ids))] == list(ids)
    assert [ids.find(item_id) for item_id in ids] == list(range(len(ids)))
    assert (ids[-1], "b1" in ids, ids.find("nothing")) == ("ü", True, None)
    with pytest.raises(IndexError):
        ids[len(ids)]


# Training


def test_the_metrics_are_awss_where_there_are_interactions_and_coverage_otherwise(tmp_path: Path) -> None:
    trained, _ = train(tmp_path, books(), SEMANTIC)
    assert trained.metrics.keys() == trained.baseline.keys()
    assert "precision_at_10" in trained.metrics
    assert trained.report["raw"]["users"] > 0
    alone, artifact = train(tmp_path / "alone", books(taken=False), SEMANTIC)
    assert alone.metrics.keys() == {"coverage"}
    assert alone.metrics["coverage"] > 0.9
    scorer = Scorer.load(artifact)
    assert find_related(scorer, "b003", 3, influence=RankingInfluence(popularity=1.0)) == find_related(
        scorer, "b003", 3
    )


def test_a_second_attempt_continues_with_the_same_result(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "BLOCK", 16)
    done = []
    embed_items = lexical.LexicalVectorizer.embed

    def embed_few(self: lexical.LexicalVectorizer, rows: Sequence[Any], on_block: Any = None) -> Any:
        done.append(len(rows))
        return embed_items(self, rows, on_block)

    monkeypatch.setattr(lexical.LexicalVectorizer, "embed", embed_few)
    with pytest.raises(TrainingStopped):
        train(tmp_path, books(), SEMANTIC, should_stop=lambda: len(done) > 4)
    before = len(done)
    _, second = train(tmp_path, books(), SEMANTIC)
    assert len(done) - before < before + BOOKS * SUBJECTS / 16 - 3
    np.testing.assert_allclose(np.load(second / "vectors.npy"), np.load(artifact / "vectors.npy"), rtol=1e-5, atol=1e-6)


def test_items_without_texts_are_refused(tmp_path: Path) -> None:
    data = dataclasses.replace(books(), item_texts=ItemTexts((), ()))
    with pytest.raises(DataRefused, match="a string column"):
        train(tmp_path, data, SEMANTIC)


@pytest.mark.parametrize("name", ["vectors.npy", "vectorizer/idf.npy", "created.npy"])
def test_an_artifact_that_lacks_a_file_is_refused(tmp_path: Path, name: str) -> None:
    _, folder = train(tmp_path, books(), SEMANTIC)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="incomplete"):
        Scorer.load(folder)
