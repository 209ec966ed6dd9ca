"""Neighbours by text: ``python -m benchmarks.quality.texts [folder of ml-latest-small] [--encoder all-MiniLM-L6-v2]``.

Prints the share of the 10 nearest items that have a genre in common with the item, beside 10 items drawn at random and
the 10 most popular ones; then the time of 100,000 made-up items on one core (set OPENBLAS_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.arrays.item_texts import TextColumn
from shared.recipes.semantic_similarity.lexical import MOST_SAMPLED, learn_vectorizer
from shared.recipes.semantic_similarity.sentence_encoder import SentenceVectorizer, find_encoder_files

NEAREST = 10
ITEMS = 100_000
TITLE = TextColumn(name="TITLE", kind="name")
GENRES = TextColumn(name="GENRES", kind="attribute")


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def share_genres(listed_IK: npt.NDArray[np.int64], genres_IG: npt.NDArray[np.bool_]) -> float:
    """Share of the listed items with a genre of the item, over the items that have any."""
    (known,) = genres_IG.any(axis=1).nonzero()
    return float(np.mean([(genres_IG[listed_IK[item]] & genres_IG[item]).any(axis=1).mean() for item in known]))


def find_nearest(vectors_ID: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    similar_II = vectors_ID @ vectors_ID.T
    np.fill_diagonal(similar_II, -2)
    return np.argpartition(-similar_II, NEAREST, axis=1)[:, :NEAREST]


def embed(rows: Sequence[dict[str, str]], columns: Sequence[TextColumn], encoder: str) -> npt.NDArray[np.float32]:
    cells = [[row[column.name] for column in columns] for row in rows]
    if encoder:
        return SentenceVectorizer(columns, *find_encoder_files(encoder), threads=1).embed(cells)
    return learn_vectorizer(columns, cells).embed(cells)


def compare_neighbours(folder: Path, encoder: str) -> None:
    rows = read_rows(folder / "items.csv")
    own = [set(row["GENRES"].split("|")) - {"(no genres listed)"} for row in rows]
    genres_IG = np.array([[genre in each for genre in sorted(set().union(*own))] for each in own])
    taken = Counter(row["ITEM_ID"] for row in read_rows(folder / "interactions.csv"))
    popular = sorted(range(len(rows)), key=lambda item: -taken[rows[item]["ITEM_ID"]])[: NEAREST + 1]
    listed = [[other for other in popular if other != item][:NEAREST] for item in range(len(rows))]
    drawn = np.random.default_rng(0).integers(0, len(rows), (len(rows), NEAREST))
    print(f"{folder.name}, {len(rows)} items: share of the {NEAREST} nearest with a common genre")
    print(f"  chance              {share_genres(drawn, genres_IG):.3f}")
    print(f"  popularity          {share_genres(np.array(listed), genres_IG):.3f}")
    for told, columns in (("titles alone", [TITLE]), ("titles and genres", [TITLE, GENRES])):
        for name in ("", *([encoder] if encoder else [])):
            share = share_genres(find_nearest(embed(rows, columns, name)), genres_IG)
            print(f"  {told:19} {share:.3f}  {name or 'lexical'}")


def make_texts(items: int) -> list[list[str]]:
    """Names of 4 words, descriptions of 16 to 76 out of 200,000 words by Zipf's law, and two attributes."""
    rng = np.random.default_rng(0)
    letters = np.array(list("aeioubcdfghjklmnprstvwz"))
    words = ["".join(word) for word in rng.choice(letters, (200_000, 7))]
    rows = []
    for length in rng.integers(20, 80, items).tolist():
        numbers = (np.exp(rng.random(length) * np.log(len(words))) - 1).astype(int)
        told = [words[number] for number in numbers]
        rows.append([" ".join(told[:4]), " ".join(told[4:]), f"g{numbers[0] % 50}|g{numbers[1] % 50}"])
    return rows


def measure_speed() -> None:
    columns = [TITLE, TextColumn(name="DESCRIPTION", kind="text"), GENRES]
    rows = make_texts(ITEMS)
    began = time.process_time()
    sample = np.random.default_rng(0).choice(ITEMS, MOST_SAMPLED, replace=False)
    vectorizer = learn_vectorizer(columns, [rows[item] for item in sample.tolist()])
    learnt = time.process_time()
    for begin in range(0, ITEMS, 1024):
        vectorizer.embed(rows[begin : begin + 1024])
    ended = time.process_time()
    print(f"{ITEMS} made-up items: {learnt - began:.1f} s to learn, {ended - learnt:.1f} s to embed, of processor time")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/ml-latest-small"))
    parser.add_argument("--encoder", default="")
    chosen = parser.parse_args()
    compare_neighbours(chosen.folder, chosen.encoder)
    measure_speed()
