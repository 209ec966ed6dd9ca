"""The scoring side of a recipe: a query in, a score for every item out. Imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

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
    """How far a request leaves the beaten path: the itemExplorationConfig of what is asked, as numbers."""

    weight: float
    """From 0, none, to 1."""
    age_cut_off_days: float
    """Items are new up to this age, counted back from the newest interaction trained on."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a scorer is asked. Each recipe reads its own part; all but ``now`` may be missing."""

    now: float
    """Seconds since the epoch."""
    user_id: str = ""
    history: Sequence[Past] = ()
    """What the user did, oldest first; it may hold items that the model does not know."""
    context: Mapping[str, str] = field(default_factory=dict)
    """Values of contextual columns at the moment of the request; unknown columns are passed over."""
    item_id: str | None = None
    """The item to which others are related; it may be unknown to the model."""
    exploration: Exploration | None = None
    """None: none."""
    unseen_only: bool = False
    """Is only what is new to the user wanted? Where a filter hides what was had: it knows the newest of that alone."""


class ExplainedScores(NamedTuple):
    """Scores, and what tells why an item stands high in them."""

    scores: npt.NDArray[np.float32]
    """As ``Scorer.scores`` answers them."""
    unexplored: npt.NDArray[np.float32]
    """float32[I]: what they would be without exploration; the very same object where there is none."""
    popular: bool
    """Is nothing known of who asks, so that they are shares of what is popular and no relevance?"""
    approximate: ApproximateScores | None = None
    """What tells how far both scores may be off, of a large catalogue; None: they are exact."""


class ApproximateScores(Protocol):
    """Scores that are estimates: an exact one is one of these times exp(correction), whatever else made it of logits.

    Bounds and corrections are 0 where a score is exact.
    """

    most: float
    """No bound is above it."""

    def get_bounds(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K]: what the corrections of these items lie within, to both sides."""

    def compute_corrections(self, places_K: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[K], which takes a while for each item."""


class Scorer(Protocol):
    """``scoring.Scorer`` of every recipe folder: a loaded model, safe to use from several threads."""

    @property
    def item_ids(self) -> Sequence[str]:
        """Sorted by code point."""
        ...

    @classmethod
    def load(cls, artifact: Path) -> Self:
        """Raises ArtifactError."""
        ...

    def history(self, user_id: str) -> list[Past]:
        """What the user did, as trained on, oldest first; [] for an unknown user."""
        ...

    def scores(self, query: Query) -> npt.NDArray[np.float32]:
        """float32[I]: a distribution over the whole catalogue, for the caller to keep.

        A negative entry means that the item is never shown, as an item that is asked for its like; the others sum
        to 1. Who asks with nothing that the model knows is answered what is popular: an unknown user, or one of whom
        nothing is known but perhaps metadata; an unknown item.
        """
        ...


class ExplainingScorer(Scorer, Protocol):
    """``scoring.Scorer`` of the recipes that tell reasons."""

    def explained(self, query: Query) -> ExplainedScores:
        """The answer of ``scores`` to this query, with its reasons."""
        ...
