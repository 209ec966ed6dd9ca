"""Random blocks of queries to random models have the lists that ``pipeline`` makes of each query alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.batch.made_up import BEGIN, MadeUp, write_model
from shared.recipes import RECIPES
from shared.recipes.hrnn.serving import block_search, shared_pass
from shared.recipes.hrnn.serving.state_cache import StateCache
from shared.recipes.scoring_api import Exploration, Past, Query
from shared.serving import pipeline
from shared.serving.block_pipeline import rank_block, recommend_block
from shared.serving.candidate_mask import CandidateSelection
from shared.serving.model_cache import LoadedModel
from shared.serving.pipeline import rank_items, recommend_items

Mask = npt.NDArray[np.bool_]
DATASETS = dict.fromkeys(("INTERACTIONS", "ITEMS", "USERS", "ACTIONS", "ACTION_INTERACTIONS"), "d")
MODELS = {
    "network alone": MadeUp(leaning=False),
    "counters": MadeUp(items=500),
    "gated units": MadeUp(cell="gru"),
    "each item once": MadeUp(repeats=False, items=80),
    "certain": MadeUp(spread=1.2, items=700),
    "few items": MadeUp(items=40, leaning=False),
    "exploring": MadeUp(recipe="aws-user-personalization"),
    "exploring by itself": MadeUp(recipe="aws-user-personalization-v2", items=700),
    "ranking": MadeUp(recipe="aws-personalized-ranking"),
    "scanned": MadeUp(items=9000, hidden=32),
    "exploring and scanned": MadeUp(recipe="aws-user-personalization", items=9000, hidden=32, spread=0.6),
}
#: Catalogues of so many items are scanned in 8 bits here.
SCANNED = 5000


@dataclass
class GivenSelection(CandidateSelection):
    """The masks of a request, without the filters that they come from."""

    shown: Mask | None
    filtered: Mask | None
    promoted: Mask | None
    excludes_known: bool

    def __post_init__(self) -> None:
        self.request = {}
        if self.promoted is not None:
            self.request = {"promotions": [{"name": "p", "percentPromotedItems": 40, "filterArn": "promoted"}]}

    def mask_use_case(self) -> Mask | None:
        return self.shown

    def mask_filtered(self) -> Mask | None:
        return self.filtered

    def apply_filter(self, filter_arn: str, values: Any) -> Mask:
        assert self.promoted is not None
        return self.promoted

    def should_exclude_known(self, allowed: Mask | None, history: Sequence[Past]) -> bool:
        return self.excludes_known

    def filter_items(self, item_ids: Sequence[str]) -> list[str]:
        return list(item_ids)[::2]


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    patched = pytest.MonkeyPatch()
    patched.setattr(shared_pass, "SCANNED", SCANNED)
    recipe = RECIPES[request.param.recipe]
    scorer = importlib.import_module(f"{recipe.module}.scoring").Scorer
    folder = write_model(tmp_path_factory.mktemp("model"), request.param)
    yield LoadedModel(scorer.load(folder), recipe, "g", DATASETS)
    patched.undo()


def draw_mask(rng: np.random.Generator, items: int) -> Mask | None:
    share = rng.choice([-1.0, 0.0, 0.03, 0.5, 0.97])
    return None if share < 0 else rng.random(items) < share


def draw_query(rng: np.random.Generator, model: LoadedModel) -> Query:
    user = f"u{rng.integers(0, 45):06}"  # some are unknown
    history: Sequence[Past] = model.get_stored_history(user)
    if rng.random() < 0.5:
        history = list(model.get_history(user)) if rng.random() < 0.8 else []
        history = [*history, Past("unheard of", BEGIN + 10**8)]
    exploration = (
        Exploration(weight=0.3, age_cut_off_days=float(rng.choice([5, 30, 150]))) if rng.random() < 0.7 else None
    )
    return Query(
        now=float(BEGIN + rng.choice([10**8, 2 * 10**8])),
        user_id=user,
        history=history,
        exploration=exploration if model.recipe.serving.explores else None,
    )


def draw_selection(rng: np.random.Generator, items: int) -> GivenSelection:
    return GivenSelection(
        shown=draw_mask(rng, items) if rng.random() < 0.3 else None,
        filtered=draw_mask(rng, items),
        promoted=draw_mask(rng, items) if rng.random() < 0.3 else None,
        excludes_known=bool(rng.random() < 0.3),
    )


def seed_rngs(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exploration and promotions draw the same numbers again."""
    monkeypatch.setattr(pipeline, "RNG", np.random.default_rng(1))
    scorer: Any = model._scorer
    scorer.rng = np.random.default_rng(2)
    scorer._states = StateCache(scorer._reader)


def check_same_lists(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Items whose scores differ by rounding alone may have changed places."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert [row.get("score", 0) for row in one] == pytest.approx(
            [row.get("score", 0) for row in other], abs=1.1e-6, rel=0
        )
        for place, (row, wanted) in enumerate(zip(one, other, strict=True)):
            if row["itemId"] != wanted["itemId"]:
                scores = {each["itemId"]: each["score"] for each in other}
                assert scores.get(row["itemId"], other[-1]["score"]) == pytest.approx(
                    wanted["score"], rel=1e-4, abs=1e-7
                ), (place, row, wanted)
            else:
                assert {**row, "score": 0} == {**wanted, "score": 0}


@pytest.mark.parametrize(("wanted", "chunk"), [(5, 300), (25, 2**18), (500, 3000)])
def test_a_block_has_the_lists_of_its_queries(
    model: LoadedModel, wanted: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_search, "CHUNK_NUMBERS", chunk)
    rng = np.random.default_rng(wanted)
    queries = [draw_query(rng, model) for _ in range(20)]
    selections = [draw_selection(rng, len(model.item_ids)) for _ in queries]
    seed_rngs(model, monkeypatch)
    expected = [recommend_items(model, *each, wanted) for each in zip(queries, selections, strict=True)]
    seed_rngs(model, monkeypatch)
    check_same_lists(recommend_block(model, queries, selections, wanted), expected)


def test_a_seed_decides_the_exploration_wherever_its_query_stands(model: LoadedModel) -> None:
    rng = np.random.default_rng(3)
    queries = [replace(draw_query(rng, model), seed=number) for number in range(20)]
    selections = [GivenSelection(None, None, None, excludes_known=False) for _ in queries]
    alone = [recommend_items(model, *each, 25) for each in zip(queries, selections, strict=True)]
    check_same_lists(recommend_block(model, queries, selections, 25), alone)
    check_same_lists(recommend_block(model, queries[::-1], selections, 25)[::-1], alone)


def test_a_block_has_the_rankings_of_its_queries(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries = [draw_query(rng, model) for _ in range(20)]
    selections = [draw_selection(rng, len(model.item_ids)) for _ in queries]
    given = [
        [*(model.get_item_id(int(place)) for place in rng.integers(0, len(model.item_ids), 30)), "unheard of"]
        for _ in queries
    ]
    seed_rngs(model, monkeypatch)
    expected = [rank_items(model, *each) for each in zip(queries, selections, given, strict=True)]
    seed_rngs(model, monkeypatch)
    check_same_lists(rank_block(model, queries, selections, given), expected)
