"""Made-up books with texts of a few subjects, and the recipe that recommends them by their texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from shared.data.arrays.item_texts import ItemTexts, TextColumn
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.scoring_api import Query
from shared.recipes.semantic_similarity.scoring import Scorer
from tests.recipes.synthetic import histories_of

SEMANTIC = RECIPES["aws-semantic-similarity"]
COLUMNS = (
    TextColumn(name="NAME", kind="name"),
    TextColumn(name="PLOT", kind="text"),
    TextColumn(name="GENRES", kind="attribute"),
)
SUBJECTS = 6
BOOKS = 30
DAY = 86_400


def make_texts(seed: int = 0) -> list[list[str]]:
    """Books of SUBJECTS subjects, in turn: each subject has 30 words of its own, and all share 300 others."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnoprstuvwyz"))
    words = ["".join(rng.choice(letters, 7)) for _ in range(30 * SUBJECTS + 300)]
    rows = []
    for book in range(BOOKS * SUBJECTS):
        own = words[30 * (book % SUBJECTS) : 30 * (book % SUBJECTS) + 30]
        told = [*rng.choice(own, 15), *rng.choice(words[30 * SUBJECTS :], 10)]
        rows.append([f"Book {book}", " ".join(rng.permutation(told)), "Paper|Book"])
    return rows


def books(rows: Sequence[Sequence[str]] | None = None, *, taken: bool = True) -> TrainingData:
    """Each book is a day newer than the one before it; the first books are the most popular ones."""
    rows = make_texts() if rows is None else rows
    names = tuple(f"b{book:03}" for book in range(len(rows)))
    sequences = {
        f"u{user:02}": [(names[book], 1_000_000 + book) for book in range(min(user + 2, len(rows)))]
        for user in range(40 if taken else 0)
    }
    return dataclasses.replace(
        TrainingData(histories=histories_of(sequences, unseen=names)),
        item_texts=ItemTexts(COLUMNS, [list(cells) for cells in zip(*rows, strict=True)]),
        item_created=np.arange(len(rows)) * DAY,
    )


def find_related(scorer: Scorer, item: str, count: int = 10, **query: Any) -> list[str]:
    scores = scorer.scores(Query(now=0.0, item_id=item, **query))
    assert scores[scores >= 0].sum() == pytest.approx(1.0, abs=1e-4)
    return [scorer.item_ids[place] for place in np.argsort(-scores, kind="stable")[:count].tolist()]


def subject(book: str) -> int:
    return int(book[1:]) % SUBJECTS
