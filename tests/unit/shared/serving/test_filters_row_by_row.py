"""The runtime's filter step finds what looking at item after item finds: any catalogue, user, filter and request.

The data come the whole way: imports as Parquet, snapshots of them, live events in a store. FORETASTE_FILTER_EXAMPLES
says how many examples are tried.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.aws.errors import InvalidInput
from shared.recipes import RECIPES
from shared.serving.candidate_mask import CandidateSelection
from tests.unit.services.runtime_world import Echo, Runtime, dataset, event
from tests.unit.shared.data import parquet_files
from tests.unit.shared.filters.row_by_row import Part, World, let_through, written
from tests.unit.shared.filters.tables import Row
from tests.unit.shared.filters.test_against_row_by_row import PARTS, VALUES

EXAMPLES = int(os.environ.get("FORETASTE_FILTER_EXAMPLES", "200"))
SIMS = RECIPES["aws-sims"]
ITEMS = ("ITEM_ID string", "GENRE string categorical", "TITLE string", "PRICE float", "YEAR int")
USERS = ("USER_ID string", "GENDER string categorical", "MEMBERSHIP string", "AGE int")
INTERACTIONS = (*parquet_files.INTERACTIONS, "EVENT_TYPE string")
WORDS = (None, "Drama", "drama", "x", "Drama|x", "x|drama|Drama")
#: Some of them are in no import.
ITEM_IDS = [f"i{number:02}" for number in range(60)]
USER_IDS = [f"u{number}" for number in range(12)]


@dataclass(frozen=True)
class Data:
    """What was imported, and the runtime that serves it."""

    runtime: Runtime
    items: Mapping[str, Row]
    users: Mapping[str, Row]
    events: Mapping[str, frozenset[tuple[str, str]]]
    """User -> event type and item."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    runtime, rng = Runtime(tmp_path_factory.mktemp("runtime")), random.Random(11)

    def rows(ids: Sequence[str], *cells: Sequence[Any]) -> list[tuple[Any, ...]]:
        return [(id_, *(rng.choice(each) for each in cells)) for id_ in ids]

    titles = (None, "Drama", "drama", "x")
    items = rows(ITEM_IDS[:50], WORDS, titles, (None, 0.0, 2.0, 9.99), (None, 0, 2, 10))
    users = rows(USER_IDS[:8], WORDS, titles, (None, 0, 2, 10))
    kinds = ("click", "Click", "buy", "watch")
    events = [(rng.choice(USER_IDS), rng.choice(ITEM_IDS), n, rng.choice(kinds)) for n in range(80)]
    runtime.filled("Items", ITEMS, items)
    runtime.filled("Users", USERS, users)
    runtime.filled("Interactions", INTERACTIONS, events)
    return Data(
        runtime,
        {row[0]: dict(zip(("GENRE", "TITLE", "PRICE", "YEAR"), row[1:], strict=True)) for row in items},
        {row[0]: dict(zip(("GENDER", "MEMBERSHIP", "AGE"), row[1:], strict=True)) for row in users},
        {user: frozenset((kind, item) for one, item, _, kind in events if one == user) for user in USER_IDS},
    )


CATALOGUES = st.sets(st.sampled_from(ITEM_IDS), min_size=1).map(sorted)
LIVE = st.lists(st.tuples(st.sampled_from(["click", "BUY", "Watch"]), st.sampled_from(ITEM_IDS)), max_size=4)
GIVEN = st.fixed_dictionaries(VALUES) | st.fixed_dictionaries({}, optional=VALUES)
_numbers = itertools.count()


@settings(max_examples=EXAMPLES, deadline=None)
@given(CATALOGUES, PARTS, GIVEN, st.sampled_from(USER_IDS), st.sampled_from([*ITEM_IDS, "?"]), LIVE)
def test_an_answer_holds_what_a_look_at_each_item_lets_through(
    data: Data,
    catalogue: list[str],
    parts: tuple[Part, ...],
    values: Mapping[str, Any],
    user: str,
    seed: str,
    live: list[tuple[str, str]],
) -> None:
    runtime = data.runtime
    runtime.store.clear_dataset(dataset("INTERACTIONS"))
    runtime.sent(*(event(item, 1000.0, kind, user) for kind, item in live))
    request = {
        "userId": user,
        "itemId": seed,
        "filterArn": runtime.filter(written(parts), name=f"f{next(_numbers)}"),
        "filterValues": {name: text(value) for name, value in values.items()},
    }
    selection = CandidateSelection(runtime.filters, runtime.model(SIMS, Echo(catalogue)), request)
    for ids in (catalogue, ITEM_IDS):  # a recommendation knows a model's items, a ranking any
        expected = let_through(parts, world(data, ids, values, user, seed, live))
        if expected is None:
            with pytest.raises(InvalidInput, match="has no value for"):
                selection.mask_filtered() if ids is catalogue else selection.filter_items(ids)
        elif ids is catalogue:
            for _ in range(2):  # the second time some of it is remembered
                mask = selection.mask_filtered()
                assert mask is not None
                assert mask.tolist() == expected
        else:
            assert selection.filter_items(ids) == [item for item, kept in zip(ids, expected, strict=True) if kept]


def world(
    data: Data, ids: Sequence[str], values: Mapping[str, Any], user: str, seed: str, live: list[tuple[str, str]]
) -> World:
    did = {*data.events[user], *live}
    return World(
        rows=tuple(data.items.get(item) for item in ids),
        values=values,
        user=data.users.get(user, {}),
        events={kind: frozenset(row for row, item in enumerate(ids) if (kind, item) in did) for kind, _ in did},
        current_item=data.items.get(seed, {}),
    )


def text(value: list[str] | float) -> str:
    return ",".join(f'"{one}"' for one in value) if isinstance(value, list) else str(value)
