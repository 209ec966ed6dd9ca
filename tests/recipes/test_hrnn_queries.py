"""Queries to a model: each part of one acts, and unknown or odd parts do no harm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.scoring_api import Past, Query
from tests.recipes.scorers import HOUR, NOW, POPULARITY, make_clicks, make_data


@pytest.mark.parametrize(
    ("user_id", "history", "now", "context"),
    [
        pytest.param("bob", make_clicks("i1", "i2"), NOW, {"device": "tv"}, id="another user"),
        pytest.param("ann", make_clicks("i1", "i2"), NOW, {"device": "phone"}, id="another context"),
        pytest.param("ann", make_clicks("i1", "i2"), NOW + HOUR, {"device": "tv"}, id="later"),
        pytest.param("ann", make_clicks("i2", "i1"), NOW, {"device": "tv"}, id="another order"),
        pytest.param("ann", make_clicks("i1", "i1", "i2"), NOW, {"device": "tv"}, id="taken twice"),
        pytest.param(
            "ann",
            [one._replace(event_type="buy") for one in make_clicks("i1", "i2")],
            NOW,
            {"device": "tv"},
            id="bought",
        ),
        pytest.param(
            "ann",
            [
                one._replace(timestamp=one.timestamp - 5 * HOUR * (2 - n))
                for n, one in enumerate(make_clicks("i1", "i2"))
            ],
            NOW,
            {"device": "tv"},
            id="long ago",
        ),
    ],
)
def test_everything_said_acts(
    scorer: Scorer, user_id: str, history: Sequence[Past], now: float, context: dict[str, str]
) -> None:
    usual = scorer.scores(Query(user_id="ann", history=make_clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    assert np.abs(scorer.scores(Query(user_id=user_id, history=history, now=now, context=context)) - usual).max() > 1e-4


def test_the_history_of_a_user_is_as_trained_on(scorer: Scorer) -> None:
    histories = make_data().histories
    expected = [
        Past(histories.item_ids[item], int(at), [None, "click", "buy"][type_ + 1])
        for item, at, type_ in zip(
            histories.items[12:24], histories.timestamps[12:24], histories.event_types[12:24], strict=True
        )
    ]
    assert scorer.history("bob") == expected
    assert scorer.history("nobody") == []


def test_a_stranger_is_shown_what_is_popular(scorer: Scorer) -> None:
    popular = scorer.scores(Query(user_id="nobody", now=NOW))
    np.testing.assert_allclose(popular, POPULARITY, rtol=1e-6)
    popular[:] = 0  # what is handed out is a copy
    for user_id, history, context in (
        ("nobody", [], {"weather": "wet", "device": "fridge"}),
        ("nobody", [Past("never heard of", 5.0)], {}),
        ("cleo", [], {}),
    ):
        np.testing.assert_allclose(
            scorer.scores(Query(user_id=user_id, history=history, now=NOW, context=context)), POPULARITY, rtol=1e-6
        )


def test_someone_of_whom_only_metadata_are_known_is_shown_what_such_users_begin_with(scorer: Scorer) -> None:
    ann, bob, on_tv = (
        scorer.scores(Query(user_id=user_id, now=NOW, context=context))
        for user_id, context in (("ann", {}), ("bob", {}), ("nobody", {"device": "tv"}))
    )
    for one, other in ((ann, bob), (ann, on_tv), (ann, POPULARITY), (on_tv, POPULARITY)):
        assert np.abs(one - other).max() > 1e-3
    assert ann.sum() == pytest.approx(1.0, abs=1e-5)


def test_unknown_items_columns_and_types_are_passed_over(scorer: Scorer) -> None:
    usual = scorer.scores(Query(user_id="ann", history=make_clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    first, second = make_clicks("i1", "i2")
    with_unknown = [first, Past("?", first.timestamp + 1, "click"), second]
    np.testing.assert_allclose(
        scorer.scores(Query(user_id="ann", history=with_unknown, now=NOW, context={"DEVICE": "tv", "sun": "out"})),
        usual,
        atol=1e-6,
    )
    named = [one._replace(event_type="CLICK") for one in (first, second)]
    np.testing.assert_allclose(
        scorer.scores(Query(user_id="ann", history=named, now=NOW, context={"device": "tv"})), usual, atol=1e-6
    )
    untyped, unheard = (
        scorer.scores(
            Query(
                user_id="ann",
                history=[one._replace(event_type=type_) for one in (first, second)],
                now=NOW,
                context={"device": "tv"},
            )
        )
        for type_ in (None, "wink")
    )
    np.testing.assert_allclose(untyped, unheard, atol=1e-6)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([Past("i1", NOW + HOUR), Past("i2", NOW + 9 * HOUR)], id="in the future"),
        pytest.param([Past("i1", NOW), Past("i2", NOW - HOUR)], id="out of order"),
        pytest.param([Past("i1", 0.0), Past("i2", 4e12)], id="in milliseconds"),
        pytest.param([Past("i1", -1e12)], id="long before the epoch"),
        pytest.param([Past("i1", NOW + 0.25), Past("i2", NOW + 0.5)], id="parts of a second"),
        pytest.param([Past("i1", NOW)] * 100_000, id="very long"),
    ],
)
def test_odd_histories_are_scored(scorer: Scorer, history: list[Past]) -> None:
    scores = scorer.scores(Query(user_id="ann", history=history, now=NOW))
    assert np.isfinite(scores).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
