"""A model in memory: a history in, a score for every item out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shared.data.training_data import TrainingData
from shared.recipes import artifact
from shared.recipes.artifact import WEIGHTS
from shared.recipes.contract import ArtifactError, Past, Query
from shared.recipes.hrnn.network import Form, Network, Pairs, gap_buckets
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.streams import Streams
from tests.recipes.networks import CELLS
from tests.recipes.synthetic import histories_of, training_data
from tests.recipes.whole import bag, history_logits, history_pairs, network_of

HOUR = 3600
NOW = 1_700_000_000.0
POPULARITY = np.linspace(1, 2, 9) / np.linspace(1, 2, 9).sum()
USERS = {"ann": {"club": "red"}, "bob": {"club": "blue"}, "cleo": {}}


def data() -> TrainingData:
    """Three users take nine items again and again."""
    rng = np.random.default_rng(0)
    sequences = {
        user: [(f"i{item}", 1_600_000_000 + 700 * step) for step, item in enumerate(rng.integers(0, 9, 12))]
        for user in USERS
    }
    histories = histories_of(sequences, unseen=tuple(f"i{item}" for item in range(9)))
    types = rng.integers(-1, 2, len(histories.items)).astype(np.int16)
    histories = replace(histories, event_types=types, event_type_names=["click", "buy"])
    contexts = [{"device": ("tv", "phone")[event % 2]} for event in range(len(types))]
    return training_data(histories, users=list(USERS.values()), contexts=contexts)


def written(folder: Path, data: TrainingData, cell: str = "linear") -> Path:
    """A model whose every weight acts, and that nobody trained."""
    streams = Streams(data, np.ones(len(data.histories.items), np.float32))
    form = Form(
        items=9,
        hidden=32,
        cell=cell,  # type: ignore[arg-type]
        event_types=streams.event_types,
        repeats=streams.repeats,
        user_features=data.users.size if data.users else 0,
        context_features=data.contexts.size if data.contexts else 0,
    )
    torch.manual_seed(0)
    network = Network(form)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    folder.mkdir(exist_ok=True)
    save_file(network.state_dict(), folder / WEIGHTS)
    artifact.write(
        folder,
        data,
        recipe="aws-hrnn-metadata",
        parameters={},
        form=dataclasses.asdict(form),
        popularity=POPULARITY,
        report={},
    )
    return folder


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    return Scorer.load(written(tmp_path / "model", data()))


def clicks(*items: str) -> list[Past]:
    return [Past(item, NOW - 60.0 * (len(items) - place), "click") for place, item in enumerate(items)]


@pytest.mark.parametrize("cell", CELLS)
def test_it_works(tmp_path: Path, cell: str) -> None:
    scorer = Scorer.load(written(tmp_path / "model", data(), cell))
    assert list(scorer.item_ids) == [f"i{item}" for item in range(9)]
    scores = scorer.scores(Query(user_id="ann", history=clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    assert scores.shape == (9,)
    assert scores.dtype == np.float32
    assert (scores > 0).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(
        scorer.scores(Query(user_id="ann", history=clicks("i1", "i3"), now=NOW, context={"device": "tv"})), scores
    )


def test_the_scores_are_the_softmax_of_the_networks_logits(tmp_path: Path) -> None:
    of = data()
    scorer = Scorer.load(written(tmp_path / "model", of))
    history = [Past("i4", NOW - 9 * HOUR, "buy"), Past("i2", NOW - 50, None), Past("i4", NOW - 5, "click")]
    assert of.users is not None
    assert of.contexts is not None
    logits = history_logits(
        network_of(tmp_path / "model"),
        torch.tensor([4, 2, 4]),
        torch.tensor([NOW - 9 * HOUR, NOW - 50, NOW - 5], dtype=torch.double),
        torch.tensor([2, 0, 1]),
        NOW,
        bag(*of.users.encode(USERS["bob"])),
        bag(*of.contexts.encode({"device": "phone"})),
    )
    scores = scorer.scores(Query(user_id="bob", history=history, now=NOW, context={"device": "phone"}))
    np.testing.assert_allclose(scores, logits.softmax(-1).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("user_id", "history", "now", "context"),
    [
        pytest.param("bob", clicks("i1", "i2"), NOW, {"device": "tv"}, id="another user"),
        pytest.param("ann", clicks("i1", "i2"), NOW, {"device": "phone"}, id="another context"),
        pytest.param("ann", clicks("i1", "i2"), NOW + HOUR, {"device": "tv"}, id="later"),
        pytest.param("ann", clicks("i2", "i1"), NOW, {"device": "tv"}, id="another order"),
        pytest.param("ann", clicks("i1", "i1", "i2"), NOW, {"device": "tv"}, id="taken twice"),
        pytest.param(
            "ann", [one._replace(event_type="buy") for one in clicks("i1", "i2")], NOW, {"device": "tv"}, id="bought"
        ),
        pytest.param(
            "ann",
            [one._replace(timestamp=one.timestamp - 5 * HOUR * (2 - n)) for n, one in enumerate(clicks("i1", "i2"))],
            NOW,
            {"device": "tv"},
            id="long ago",
        ),
    ],
)
def test_everything_said_acts(
    scorer: Scorer, user_id: str, history: Sequence[Past], now: float, context: dict[str, str]
) -> None:
    usual = scorer.scores(Query(user_id="ann", history=clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    assert np.abs(scorer.scores(Query(user_id=user_id, history=history, now=now, context=context)) - usual).max() > 1e-4


def test_the_history_of_a_user_is_as_trained_on(scorer: Scorer) -> None:
    histories = data().histories
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
    usual = scorer.scores(Query(user_id="ann", history=clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    first, second = clicks("i1", "i2")
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


def test_each_item_of_a_history_is_one_pair_as_it_stands_last() -> None:
    form = Form(items=9, hidden=32, event_types=2, repeats=True)
    at = torch.tensor([0.0, 10.0, 20.0, 30.0, 1000.0], dtype=torch.double)
    pairs = history_pairs(form, torch.tensor([7, 3, 7, 7, 5]), at, torch.tensor([0, 1, 1, 2, 0]), now=1100.0)
    assert pairs.rows.tolist() == [0, 0, 0]
    assert pairs.items.tolist() == [3, 5, 7]
    assert pairs.codes is not None
    gaps = gap_buckets(torch.tensor([1090, 100, 1070])).tolist()
    places = torch.stack(torch.unravel_index(pairs.codes, form.ages), 1).tolist()
    assert places == [[2, gaps[0], 0, 1], [0, gaps[1], 0, 0], [1, gaps[2], 1, 2]]
    without = history_pairs(replace(form, repeats=False), torch.tensor([7, 3, 7]), at[:3], torch.zeros(3), now=0.0)
    assert without.items.tolist() == [3, 7]
    assert without.codes is None


def test_nobody_has_taken_anything_yet() -> None:
    network = Network(Form(items=9, hidden=32, repeats=True)).eval()
    nothing = torch.zeros(0, dtype=torch.long)
    logits = history_logits(network, nothing, nothing.double(), nothing, NOW)
    assert logits.shape == (9,)
    assert logits.isfinite().all()
    x, _ = network(
        Streams(training_data(histories_of({"a": [("x", 1)]})), np.ones(1, np.float32))
        .read(torch.tensor([[0]]))
        ._replace(items=torch.tensor([[9]])),
        network.start(1),
    )
    plain = network.logits(network.query(x[-1], torch.zeros(1)), Pairs(nothing, nothing, nothing))[0]
    torch.testing.assert_close(logits, plain)


def test_threads_may_share_it(scorer: Scorer) -> None:
    histories = [clicks(f"i{n % 9}", f"i{(3 * n + 1) % 9}", f"i{(5 * n) % 9}") for n in range(40)]

    def score(history: list[Past]) -> np.ndarray:
        return scorer.scores(Query(user_id="ann", history=history, now=NOW))

    alone = [score(history) for history in histories]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose(list(pool.map(score, histories)), alone, rtol=1e-5)


def test_weights_that_are_damaged_or_of_another_form_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", data())
    size = (folder / WEIGHTS).stat().st_size
    good = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        Scorer.load(folder)
    (folder / WEIGHTS).write_bytes(good[: size // 2])
    with pytest.raises(ArtifactError, match="the model is incomplete"):
        Scorer.load(folder)
    (folder / WEIGHTS).write_bytes(good)
    description = (folder / "model.json").read_text()
    for said, other in (('"hidden":32', '"hidden":48'), ('"hidden":32', '"depth":32')):
        (folder / "model.json").write_text(description.replace(said, other))
        with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
            Scorer.load(folder)
    (folder / "model.json").write_text(description)
    assert Scorer.load(folder).item_ids
