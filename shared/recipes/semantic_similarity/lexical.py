"""Vectors from the words of items, learnt from a customer's own texts: sub-word features, idf, truncated SVD.

A word is the sum of features: itself, and its n-grams. An item is the weighted sum of its words, and the SVD of the
items gives each feature a vector, so that words which stand in the same items become near. The truncated SVD forgets
rare words, which tell short texts apart: further dimensions hold a random projection of all that it leaves out, with
less weight. A word that no item had at training still has the vectors of its n-grams.

Needs no torch. Shapes: R items, V words, F features, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson

from shared.data.arrays.item_texts import TextColumn
from shared.data.arrays.npy_files import map_npy
from shared.recipes.semantic_similarity.documents import SHARES, VALUE_MARK, Cells, count_words
from shared.recipes.semantic_similarity.sparse import SparseRows, compute_right_singular_vectors
from shared.recipes.semantic_similarity.text_features import hash_ngrams, hash_word

TOPICS = 96
"""Dimensions from the SVD."""
SKETCHED = 160
"""Dimensions of the random projection of what the SVD leaves out. The products of two vectors are off by about
1 / sqrt(SKETCHED) of that part's."""
SKETCH_WEIGHT = 0.8
"""The length of what the SVD leaves out is scaled by this: 1 keeps the cosines of all words, 0 those of topics."""
MOST_SAMPLED = 40_000
"""Items that the features and the SVD are learnt from, at most; more change neither."""
MOST_FEATURES = 2**17
"""Features with a vector: the most frequent ones."""
NGRAMS_SHARE = 0.5
"""The squared length of a word's n-grams together; the word itself has the rest of 1."""
MOST_CACHED = 2**18
"""Words whose vectors are kept for the next block of items."""

OnBlock = Callable[[], None]


@dataclass(frozen=True, eq=False)
class CountedItems:
    """Items as counted words: row r has ``lengths[r]`` entries of words, given by number."""

    words: list[str]
    """[V] The distinct words, by number."""
    lengths: npt.NDArray[np.int64]
    """[R]"""
    numbers: npt.NDArray[np.int32]
    """[N]"""
    weights: npt.NDArray[np.float32]
    """[N] 1 + log(the count)."""
    parts: npt.NDArray[np.int64]
    """[N] The number of the part (an item's columns of one kind) that an entry belongs to, over all items."""
    shares: npt.NDArray[np.float32]
    """[N] The length of that part."""

    def weigh_words(self, lengths_V: npt.NDArray[np.float32]) -> SparseRows:
        """Return items x words: the words of a part, of the given lengths, are weighed to the part's share."""
        squares = np.bincount(self.parts, np.square(self.weights * lengths_V[self.numbers]))
        norms = np.sqrt(np.maximum(squares, 1e-12))
        values = (self.weights * self.shares / norms[self.parts]).astype(np.float32)
        return SparseRows.from_lengths(self.lengths, self.numbers, values)


def count_items(columns: Sequence[TextColumn], rows: Iterable[Cells], on_block: OnBlock = lambda: None) -> CountedItems:
    """Count the words of items."""
    known: dict[str, int] = {}
    lengths: list[int] = []
    numbers: list[int] = []
    counts: list[int] = []
    part_lengths: list[int] = []
    part_shares: list[float] = []
    for row, cells in enumerate(rows):
        if row % 256 == 0:
            on_block()
        before = len(numbers)
        for kind, words in count_words(columns, cells).items():
            numbers.extend(known.setdefault(word, len(known)) for word in words)
            counts.extend(words.values())
            part_lengths.append(len(words))
            part_shares.append(SHARES[kind])
        lengths.append(len(numbers) - before)
    return CountedItems(
        words=list(known),
        lengths=np.array(lengths, np.int64),
        numbers=np.array(numbers, np.int32),
        weights=(1 + np.log(np.array(counts, np.float32))).astype(np.float32),
        parts=np.repeat(np.arange(len(part_lengths)), part_lengths),
        shares=np.repeat(np.array(part_shares, np.float32), part_lengths),
    )


class LexicalVectorizer:
    """Turns items into vectors of length 1; zeros for an item without a known word. Not to be shared by threads."""

    def __init__(
        self,
        columns: Sequence[TextColumn],
        features_F: npt.NDArray[np.uint32],
        idf_F: npt.NDArray[np.float32],
        vectors_FD: npt.NDArray[np.floating[Any]],
    ) -> None:
        """``features_F`` holds the features' numbers in ascending order."""
        self.columns = tuple(columns)
        self._features_F = features_F
        self._idf_F = idf_F
        self._vectors_FD = vectors_FD
        self._places: dict[str, int] = {}
        self._cached_VD = np.zeros((1024, self.dimensions), np.float32)
        self._lengths_V = np.zeros(1024, np.float32)

    @property
    def dimensions(self) -> int:
        """D"""
        return int(self._vectors_FD.shape[1])

    def embed(self, rows: Sequence[Cells], on_block: OnBlock = lambda: None) -> npt.NDArray[np.float32]:
        """float32[R,D]: the vectors of a block of some thousand items."""
        counted = count_items(self.columns, rows, on_block)
        places_V = self._find_words(counted.words)
        weighed = counted.weigh_words(self._lengths_V[places_V])
        vectors_RD = SparseRows(weighed.offsets, places_V[weighed.columns], weighed.values).multiply(
            self._cached_VD, on_block
        )
        return normalize_rows(vectors_RD)

    def _find_words(self, words: Sequence[str]) -> npt.NDArray[np.int32]:
        """int32[V]: the rows of the cache with these words, which are added where they are missing."""
        missing = [word for word in words if word not in self._places]
        if missing and len(self._places) + len(missing) > MOST_CACHED:
            self._places.clear()
            missing = list(words)
        first = len(self._places)
        if first + len(missing) > len(self._lengths_V):
            self._grow_cache(first + len(missing))
        described, lengths = describe_words(missing, self._features_F, self._idf_F)
        self._cached_VD[first : first + len(missing)] = described.multiply(self._vectors_FD)
        self._lengths_V[first : first + len(missing)] = lengths
        self._places.update(zip(missing, range(first, first + len(missing)), strict=True))
        return np.array([self._places[word] for word in words], np.int32)

    def _grow_cache(self, size: int) -> None:
        more = max(size, 2 * len(self._lengths_V)) - len(self._lengths_V)
        self._cached_VD = np.concatenate([self._cached_VD, np.zeros((more, self.dimensions), np.float32)])
        self._lengths_V = np.concatenate([self._lengths_V, np.zeros(more, np.float32)])

    def save(self, folder: Path) -> None:
        """Write a new folder for ``open``."""
        folder.mkdir()
        np.save(folder / "features.npy", self._features_F)
        np.save(folder / "idf.npy", self._idf_F)
        np.save(folder / "vectors.npy", self._vectors_FD.astype(np.float16))
        (folder / "columns.json").write_bytes(orjson.dumps([asdict(column) for column in self.columns]))

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a folder that ``save`` wrote. Raises OSError, ValueError and TypeError where it is damaged."""
        columns = orjson.loads((folder / "columns.json").read_bytes())
        features, idf, vectors = (map_npy(folder / f"{name}.npy") for name in ("features", "idf", "vectors"))
        return cls([TextColumn(**column) for column in columns], features, idf, vectors)


def describe_words(
    words: Sequence[str], features_F: npt.NDArray[np.uint32], idf_F: npt.NDArray[np.float32]
) -> tuple[SparseRows, npt.NDArray[np.float32]]:
    """Return words x features, and the length of each word's row; features that are not known are left out."""
    numbers, lengths, values = _hash_words(words)
    found = np.minimum(np.searchsorted(features_F, numbers), max(len(features_F) - 1, 0))
    known = features_F[found] == numbers if len(features_F) else np.zeros(len(numbers), np.bool_)
    rows = np.repeat(np.arange(len(words)), lengths)[known]
    values = values[known] * idf_F[found[known]] if len(features_F) else values[known]
    described = SparseRows.from_lengths(
        np.bincount(rows, minlength=len(words)), found[known].astype(np.int32), values.astype(np.float32)
    )
    return described, np.sqrt(np.bincount(rows, np.square(values), minlength=len(words))).astype(np.float32)


def _hash_words(
    words: Sequence[str],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the features of all words end to end, how many each has, and the weight of each feature without idf."""
    numbers: list[int] = []
    lengths: list[int] = []
    ngram_counts: list[int] = []
    for word in words:
        ngrams = [] if word.startswith(VALUE_MARK) else hash_ngrams(word)
        numbers.append(hash_word(word))
        numbers.extend(ngrams)
        lengths.append(1 + len(ngrams))
        ngram_counts.append(len(ngrams))
    lengths_V = np.array(lengths, np.int64)
    ngrams_V = np.array(ngram_counts, np.float32)
    values = np.repeat(np.sqrt(NGRAMS_SHARE / np.maximum(ngrams_V, 1)), lengths_V)
    firsts = np.cumsum(lengths_V) - lengths_V
    values[firsts] = np.where(ngrams_V > 0, np.sqrt(1 - NGRAMS_SHARE), 1.0)
    return np.array(numbers, np.uint32), lengths_V, values.astype(np.float32)


def learn_vectorizer(
    columns: Sequence[TextColumn],
    sample: Iterable[Cells],
    *,
    seed: int = 0,
    topics: int = TOPICS,
    sketched: int = SKETCHED,
    on_block: OnBlock = lambda: None,
) -> LexicalVectorizer:
    """Learn features, their idf and their vectors from a sample of the items."""
    counted = count_items(columns, sample, on_block)
    documents_V = np.bincount(_count_documents(counted), minlength=len(counted.words))
    features_F, idf_F = _choose_features(counted.words, documents_V, len(counted.lengths))
    on_block()
    described, lengths_V = describe_words(counted.words, features_F, idf_F)
    weighed = counted.weigh_words(lengths_V)
    if not len(features_F):
        return LexicalVectorizer(columns, features_F, idf_F, np.zeros((0, 1), np.float32))
    rng = np.random.default_rng(seed)
    words_by_item, features_by_word = weighed.transpose(len(counted.words)), described.transpose(len(features_F))
    topics_FD = compute_right_singular_vectors(
        lambda dense: weighed.multiply(described.multiply(dense, on_block), on_block),
        lambda dense: features_by_word.multiply(words_by_item.multiply(dense, on_block), on_block),
        len(features_F),
        min(topics, len(features_F), len(counted.lengths)),
        rng,
    )
    return LexicalVectorizer(columns, features_F, idf_F, _add_sketch(topics_FD, sketched, rng))


def _add_sketch(topics_FD: npt.NDArray[np.float32], sketched: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """float32[F,D]: the topics, and random vectors without the part that lies in the space of the topics."""
    random_FS = rng.standard_normal((len(topics_FD), sketched), dtype=np.float32)
    random_FS -= topics_FD @ (topics_FD.T @ random_FS)
    random_FS *= SKETCH_WEIGHT / np.sqrt(sketched)
    return np.hstack([topics_FD, random_FS])


def _count_documents(counted: CountedItems) -> npt.NDArray[np.int64]:
    """Return the number of each entry's word, each word of an item once."""
    rows = np.repeat(np.arange(len(counted.lengths)), counted.lengths)
    pairs = np.unique(rows * max(len(counted.words), 1) + counted.numbers)
    distinct: npt.NDArray[np.int64] = pairs % max(len(counted.words), 1)
    return distinct


def _choose_features(
    words: Sequence[str], documents_V: npt.NDArray[np.int64], documents: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """Return the MOST_FEATURES most frequent features in ascending order, and their idf.

    The documents of an n-gram are counted once for each word with it, which is more than there are where a document has
    several such words.
    """
    numbers, lengths, _ = _hash_words(words)
    features_F, feature_N = np.unique(numbers, return_inverse=True)
    counts_F = np.bincount(feature_N, np.repeat(documents_V, lengths), minlength=len(features_F))
    if len(features_F) > MOST_FEATURES:
        kept = np.sort(np.argsort(-counts_F, kind="stable")[:MOST_FEATURES])
        features_F, counts_F = features_F[kept], counts_F[kept]
    counts_F = np.minimum(counts_F, documents)
    idf_F = np.log((1 + documents) / (1 + counts_F)) + 0.1
    return features_F, idf_F.astype(np.float32)


def normalize_rows(vectors_RD: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale each row to length 1; rows of zeros stay."""
    lengths_R = np.linalg.norm(vectors_RD, axis=1, keepdims=True)
    return (vectors_RD / np.where(lengths_R > 1e-9, lengths_R, 1.0)).astype(np.float32)
