"""The scoring side of a recipe: a scorer answers a query with a score for every item. No torch, no NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ArtifactError(Exception):
    """A model's files are missing, cut short or of another format; the message names the file."""


class Past(NamedTuple):
    """An interaction of a user, as a scorer reads it."""

    item_id: str
    timestamp: float
    """Seconds since the epoch."""
    event_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """The itemExplorationConfig of a campaign, recommender or batch job, as numbers."""

    weight: float
    """From 0 (no exploration) to 1."""
    age_cut_off_days: float
    """Items up to this age are new; ages count back from the newest interaction trained on."""


@dataclass(frozen=True, kw_only=True)
class RankingInfluence:
    """The rankingInfluence of a campaign or batch job: weights from 0 (none) to 1."""

    freshness: float = 0.0
    popularity: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Query:
    """A request to a scorer. Each recipe reads its own part; every field except ``now`` has a default."""

    now: float
    """Seconds since the epoch."""
    user_id: str = ""
    history: Sequence[Past] = ()
    """The user's events, oldest first, perhaps with items that the model does not know."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Values of contextual columns at the moment of the request; unknown columns are ignored."""
    item_id: str | None = None
    """The item for which related items are requested; the model may not know it."""
    exploration: Exploration | None = None
    """None: no exploration."""
    seed: int | None = None
    """Seeds the random part of exploration, so that equal queries get equal answers; None: it differs each time."""
    influence: RankingInfluence | None = None
    """None: items rank by relevance alone."""
    unseen_only: bool = False
    """True where a filter hides the items that the user had: filters know only the newest of these."""


class ExplainedScores(NamedTuple):
    """Scores, and the facts from which reasons are derived."""

    scores: npt.NDArray[np.float32]
    """As ``Scorer.scores`` returns them."""
    unexplored: npt.NDArray[np.float32]
    """float32[I]: the scores without exploration; the same object as ``scores`` where nothing is explored."""
    popular: bool
    """True where the model knows nothing of the user, so that the scores are popularity and not relevance."""
    approximate: ApproximateScores | None = None
    """The error bounds of both scores, for a large catalogue; None: the scores are exact."""


class ApproximateScores(Protocol):
    """Error bounds of estimated scores: an exact score is the estimate times exp(correction).

    Bounds and corrections are 0 where a score is exact.
    """

    greatest_bound: float
    """The greatest of all bounds."""

    def get_bounds(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K]: the greatest absolute corrections that these items may have."""

    def compute_corrections(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K]: the corrections of these items; each takes a while to compute."""


class Scorer(Protocol):
    """``scoring.Scorer`` of every recipe folder: a loaded model, safe to use from several threads."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Sorted by code point."""
        ...

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Open and check the folder that ``training.train`` wrote. Raises ArtifactError."""
        ...

    def history(self, user_id: str) -> list[Past]:
        """Return the user's events as trained on, oldest first; [] for an unknown user."""
        ...

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """float32[I]: a distribution over the whole catalogue, in an array that the caller may change.

        A negative entry means that the item is never shown, like the item for which related items are requested; all
        other entries sum to 1. A query in which the model knows nothing (an unknown user, a user without events, an
        unknown item) is answered with the popularity of the items.
        """
        ...


class NewItem(NamedTuple):
    """A row of Items that was put or imported after the training."""

    item_id: str
    columns: Mapping[str, Any]
    """The columns by their names in the schema, without ITEM_ID."""
    at: float
    """When it arrived, in seconds since the epoch."""


class UpdatableScorer(Scorer, Protocol):
    """``scoring.Scorer`` of the recipes with ``ServingTraits.takes_new_items``."""

    def with_items(self, items: Sequence[NewItem], on_block: Callable[[], None] = ...) -> Self:
        """Return a scorer that knows these items as they are now; this one stays as it is.

        Returns this scorer where it knows all of them so already. Calls must not overlap. ``on_block`` is called about
        once a second; an exception that it raises ends the work.
        """
        ...


class ExplainingScorer(Scorer, Protocol):
    """``scoring.Scorer`` of the recipes with ``ServingTraits.gives_reasons``."""

    def explained(self, query: Query) -> ExplainedScores:
        """Return the result of ``scores`` for this query, and the facts behind it."""
        ...


class SoughtItems(NamedTuple):
    """The items of one query of a block from which its list is made."""

    masks: Sequence[npt.NDArray[np.bool_] | None] = ()
    """bool[I] each: the best items under each mask are wanted; None lets every item through."""
    places: npt.NDArray[np.int64] | None = None
    """These items are wanted in any case."""


class CandidateItems(NamedTuple):
    """The items of one query from which its list is made, as if there were no other items."""

    places: npt.NDArray[np.int64] | None
    """int64[K] ascending: the items; None: all items of the catalogue."""
    found: ExplainedScores
    """Their scores, [K] instead of [I]."""


class BlockScorer(Scorer, Protocol):
    """``scoring.Scorer`` of the recipes that score many queries faster together than one by one."""

    def find_candidates(
        self, queries: Sequence[Query], sought: Sequence[SoughtItems], count: int
    ) -> Iterator[CandidateItems]:
        """Score a block of queries, and yield of each the items from which a list of ``count`` is made.

        These contain the best ``count`` items by ``scores`` and by ``unexplored`` under each of the query's masks.
        Their scores are those of ``explained``, or of ``scores`` where the recipe gives no reasons, to 1e-6.
        """
        ...

    def stored_history(self, user_id: str) -> Sequence[Past]:
        """Return the events of ``history`` in a form that ``find_candidates`` reads faster."""
        ...

    def count_block_bytes(self, query: Query) -> int:
        """Return the bytes of memory that a query takes in a block at most, without its masks."""
        ...


class ItemGroups(NamedTuple):
    """L groups of items, whose segments are wanted, with at least one item each."""

    places: npt.NDArray[np.int64]
    """The places of the groups' items in ``Scorer.item_ids``, end to end."""
    starts: npt.NDArray[np.int64]
    """[L] Where each group begins in ``places``."""


class SegmentScorer(BlockScorer, Protocol):
    """``scoring.Scorer`` of the recipes of type USER_SEGMENTATION."""

    @property
    def user_ids(self) -> Sequence[str]:
        """The users of the histories trained on, sorted by code point."""
        ...

    def score_users(self, queries: Sequence[Query], groups: ItemGroups) -> npt.NDArray[np.float32]:
        """float32[B,L]: the probability that the next item of each query's user is one of each group's.

        The queries take memory as in ``BlockScorer.find_candidates``.
        """
        ...
