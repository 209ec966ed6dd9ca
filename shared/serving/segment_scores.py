"""Score all users for the segments of a batch segment job, some users at a time, and keep the best of each segment.

    scores/<shard number>   the best users of each segment among the users of a shard, whole or not at all

A shard is a function of the users, the model and the segments, so that a job which continues after a crash, and scores
the missing shards alone, has the same result. Memory is bounded by MOST_SCORES, and by 8 bytes for each user while one
segment is merged. Shapes: L segments, B users of a block,
K users kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter
from shared.recipes.scoring_api import ItemGroups, Query, SegmentScorer
from shared.serving.segment_users import SegmentUsers
from shared.storage.artifacts import sync_to_disk

MOST_SCORES = 2**23
"""Scores of users x segments that are held at once."""

MOST_USERS = 2**12
"""Users of a shard: after a crash at most so many are scored again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A segment that is wanted: the users most likely to take one of these items."""

    places: npt.NDArray[np.int64]
    """The items in the model's order; at least one."""
    allowed: npt.NDArray[np.uint8] | None = None
    """The users that may be listed, as bits (``np.packbits``); None: all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentScores:
    """The scores of all users for the segments of one job, in files below ``folder``, which exists."""

    folder: Path
    scorer: SegmentScorer
    users: SegmentUsers
    segments: Sequence[Segment]
    wanted: int
    """The most users of a segment."""
    now: float
    """The moment for which probabilities are computed (epoch seconds)."""
    block_users: int
    """Users that are scored in one call, which decides about the memory that it takes."""

    def count_shards(self) -> int:
        return -(-len(self.users) // self._shard_users) if self.segments else 0

    @cached_property
    def _shard_users(self) -> int:
        # A multiple of 8: a shard's bits begin with a byte.
        return max(8, min(MOST_USERS, MOST_SCORES // max(len(self.segments), 1)) // 8 * 8)

    def _get_shard(self, number: int) -> Path:
        return self.folder / str(number)

    def compute_scores(self, on_users: Callable[[int], object]) -> None:
        """Score the shards that have no file yet. ``on_users`` is called after each block with the users scored so far,
        and may raise to end the work.
        """
        for number in range(self.count_shards()):
            begin = number * self._shard_users
            if not self._get_shard(number).exists():
                end = min(begin + self._shard_users, len(self.users))
                self._write_shard(number, begin, self._score_users(begin, end, on_users))
            on_users(min(begin + self._shard_users, len(self.users)))

    @cached_property
    def _groups(self) -> ItemGroups:
        lengths = [len(segment.places) for segment in self.segments]
        starts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
        return ItemGroups(np.concatenate([segment.places for segment in self.segments]), starts)

    def _score_users(self, begin: int, end: int, on_users: Callable[[int], object]) -> npt.NDArray[np.float32]:
        scores = np.empty((end - begin, len(self.segments)), np.float32)
        for first in range(begin, end, self.block_users):
            last = min(first + self.block_users, end)
            queries = [self._build_query(place) for place in range(first, last)]
            scores[first - begin : last - begin] = self.scorer.score_users(queries, self._groups)
            on_users(last)
        return scores

    def _build_query(self, place: int) -> Query:
        return Query(now=self.now, user_id=self.users[place], history=self.users.read_history(place))

    def _write_shard(self, number: int, begin: int, scores: npt.NDArray[np.float32]) -> None:
        """Write the best users of float32[B,L], the scores of the users from ``begin`` on."""
        kept = [self._select_best(segment, begin, scores[:, place]) for place, segment in enumerate(self.segments)]
        draft = self._get_shard(number).with_suffix(".draft")
        with ArrayFileWriter(draft) as packing:
            packing.add_array("offsets", np.cumsum([0, *map(len, kept)], dtype=np.int64))
            packing.add_pieces("users", np.int32, [places + begin for places in kept])
            packing.add_pieces("scores", np.float32, [scores[places, place] for place, places in enumerate(kept)])
        sync_to_disk(draft)
        draft.rename(self._get_shard(number))

    def _select_best(self, segment: Segment, begin: int, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """int64[K]: the users of float32[B] that may be among the best of the whole segment, ascending."""
        places = np.arange(len(scores))
        if segment.allowed is not None:
            bits = segment.allowed[begin // 8 : (begin + len(scores) + 7) // 8]
            places = np.flatnonzero(np.unpackbits(bits, count=len(scores)))
        return np.sort(places[find_best(scores[places], self.wanted)])

    def find_users(self, segment: int) -> npt.NDArray[np.int32]:
        """int32[K]: the best users of a segment, by falling probability and then by id, after ``compute_scores``."""
        users, scores = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        for shard in self._shards:
            begin, end = shard.get_array("offsets")[segment : segment + 2].tolist()
            users.append(shard.get_array("users")[begin:end])
            scores.append(shard.get_array("scores")[begin:end])
        best: npt.NDArray[np.int32] = np.concatenate(users)[find_best(np.concatenate(scores), self.wanted)]
        return best

    @cached_property
    def _shards(self) -> list[ArrayFile]:
        return [ArrayFile.open(self._get_shard(number)) for number in range(self.count_shards())]


def find_best(scores: npt.NDArray[np.float32], wanted: int) -> npt.NDArray[np.int64]:
    """int64[N]: the places of the ``wanted`` greatest scores, by falling score and then by place."""
    if wanted < len(scores):
        least = np.partition(scores, len(scores) - wanted)[len(scores) - wanted]
        (above,), (equal,) = (scores > least).nonzero(), (scores == least).nonzero()
        places = np.concatenate([above, equal[: wanted - len(above)]])
    else:
        places = np.arange(len(scores))
    found: npt.NDArray[np.int64] = places[np.argsort(-scores[places], kind="stable")]
    return found
