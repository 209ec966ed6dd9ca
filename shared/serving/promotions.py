"""promotions: a share of a list's places goes to the best items that the promotion's own filter lets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.aws.errors import InvalidInput
from shared.filters.evaluation import Mask
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.reasons import PROMOTED


@dataclass(frozen=True, eq=False)
class Promotion:
    name: str | None
    percent: int
    allowed: Mask
    """bool[I]: the items that may be promoted."""

    def count_places(self, wanted: int) -> int:
        """Return how many of ``wanted`` places the promotion may have."""
        return (self.percent * wanted + 50) // 100

    def mark_rows(self, rows: Sequence[dict[str, Any]], *, reasons: bool) -> list[dict[str, Any]]:
        about: dict[str, Any] = {"promotionName": self.name} if self.name else {}
        return [{**row, **about, **({"reason": [PROMOTED]} if reasons else {})} for row in rows]


def read_promotion(selection: CandidateSelection) -> Promotion | None:
    """Return the promotion of a request; the service model allows one. None: it has none.

    Raises ResourceNotFound, InvalidInput, ServiceUnavailable.
    """
    for promotion in selection.request.get("promotions") or ():
        for member in ("percentPromotedItems", "filterArn"):
            if not promotion.get(member):
                raise InvalidInput(f"promotions: {member} is required of a promotion.")
        return Promotion(
            name=promotion.get("name"),
            percent=promotion["percentPromotedItems"],
            allowed=selection.apply_filter(promotion["filterArn"], promotion.get("filterValues")),
        )
    return None


def interleave_promotions(
    promoted: Sequence[dict[str, Any]], rest: Sequence[dict[str, Any]], rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return one list with the promoted rows at random places; the rows of each list stay in order."""
    places = set(rng.choice(len(promoted) + len(rest), size=len(promoted), replace=False).tolist())
    first, second = iter(promoted), iter(rest)
    return [next(first if place in places else second) for place in range(len(promoted) + len(rest))]
