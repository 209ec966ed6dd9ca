"""A model in memory: a history in, a score for every item out, equal to the network's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from shared.data.arrays.histories import Histories
from shared.data.training.training_data import TrainingData
from shared.recipes import RECIPES
from shared.recipes.artifact import WEIGHTS
from shared.recipes.hrnn.batch_ranking import iter_log_probs
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.counter_blend import BlendFitter, CounterBlend
from shared.recipes.hrnn.counters import FASHION, BlendWeights, Counters
from shared.recipes.hrnn.network import HrnnNetwork
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.sequence_packing import Streams
from shared.recipes.hrnn.trainer import HrnnTrainer
from shared.recipes.scoring_api import Past, Query
from tests.recipes.networks import CELLS, took
from tests.recipes.runs import HRNN, make_task, planned, settings, train
from tests.recipes.scorers import (
    HOUR,
    LEANING,
    NOW,
    POPULARITY,
    USERS,
    make_clicks,
    make_data,
    make_network,
    write_model,
)
from tests.recipes.synthetic import histories_of, training_data, walks
from tests.recipes.whole import bag, history_log_shares, history_pairs, leaning_of, network_of

OF_ALL = BlendWeights.from_parts(
    new=(0.8, 1.2, 0.4, -0.3, 0.2, 0.7, 0.3, -0.4, 0.5),
    again=(0.9, 1.1, 0.6, 0.5, 0.3, -0.2),
    share=(0.7, 0.4, -0.5),
)
"""No weight of which is 0 or the network's own."""


@pytest.mark.parametrize("cell", CELLS)
def test_it_works(tmp_path: Path, cell: str) -> None:
    scorer = Scorer.load(write_model(tmp_path / "model", make_data(), cell))
    assert list(scorer.item_ids) == [f"i{item}" for item in range(9)]
    scores = scorer.scores(Query(user_id="ann", history=make_clicks("i1", "i2"), now=NOW, context={"device": "tv"}))
    assert scores.shape == (9,)
    assert scores.dtype == np.float32
    assert (scores > 0).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(
        scorer.scores(Query(user_id="ann", history=make_clicks("i1", "i3"), now=NOW, context={"device": "tv"})), scores
    )


@pytest.mark.parametrize("leaning", [LEANING, None], ids=["leaning", "alone"])
@pytest.mark.parametrize("repeats", [True, False], ids=["again and again", "once"])
def test_the_scores_are_the_shares_that_the_network_tells(
    tmp_path: Path, repeats: bool, leaning: BlendWeights | None
) -> None:
    of = make_data(repeats=repeats)
    scorer = Scorer.load(write_model(tmp_path / "model", of, leaning=leaning))
    history = [Past("i4", NOW - 9 * HOUR, "buy"), Past("i2", NOW - 50, None), Past("i4", NOW - 5, "click")]
    assert of.users is not None
    assert of.contexts is not None
    for now in (NOW, NOW + HOUR):
        expected = history_log_shares(
            network_of(tmp_path / "model"),
            torch.tensor([4, 2, 4]),
            torch.tensor([NOW - 9 * HOUR, NOW - 50, NOW - 5], dtype=torch.double),
            torch.tensor([2, 0, 1]),
            now,
            bag(*of.users.encode(USERS["bob"])),
            bag(*of.contexts.encode({"device": "phone"})),
            leaning_of(tmp_path / "model"),
        ).exp()
        scores = scorer.scores(Query(user_id="bob", history=history, now=now, context={"device": "phone"}))
        np.testing.assert_allclose(scores, expected.numpy(), atol=1e-6)
        assert (scores[[2, 4]] > 0).all() == repeats


def described(histories: Histories) -> TrainingData:
    """With types, users' features and contexts."""
    rng = np.random.default_rng(1)
    types = rng.integers(-1, 3, len(histories.items)).astype(np.int16)
    histories = replace(histories, event_types=types, event_type_names=["click", "buy", "look"])
    clubs = [{"club": "xyz"[int(user_id[1:]) % 3]} for user_id in histories.user_ids]
    contexts = [{"device": ("tv", "phone", "pad")[event % 3]} for event in range(len(types))]
    return training_data(histories, users=clubs, contexts=contexts)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("again", [True, False], ids=["again and again", "once"])
def test_a_trained_model_answers_as_the_network_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool, cell: str
) -> None:
    """In torch, from the streams of the training, with what was counted beside it; but what is in fashion, which is
    that of the end of the data."""
    planned(monkeypatch, epochs=2, hidden=32, streams=16, bptt=8)
    monkeypatch.setattr(BlendFitter, "fit_blend", lambda *_: OF_ALL)
    rows = [[((start + step) % 400, 1_000_000 + 900 * step) for step in range(16)] for start in range(0, 480, 3)]
    of = described(walks(users=160, events=16, items=12) if again else took(rows, 400))
    learners: list[HrnnTrainer] = []
    left = HrnnTrainer.build_final_network

    def kept(learner: HrnnTrainer) -> HrnnNetwork:
        learners.append(learner)
        return left(learner)

    monkeypatch.setattr(HrnnTrainer, "build_final_network", kept)
    scorer = Scorer.load(train(tmp_path, of, RECIPES["aws-hrnn-metadata"], cell=cell)[1])
    [learner] = learners
    assert learner.streams.repeats == again
    assert learner.blend is not None
    assert learner.blend.weights == OF_ALL
    assert all(weight != own for weight, own in zip(OF_ALL.values, BlendWeights().values, strict=True))
    without_fashion = CounterBlend(learner.blend.counters, replace(OF_ALL, fashion=(0.0,) * len(FASHION)))
    histories, contexts = of.histories, ["tv", "phone", "pad"]
    events_Q = np.concatenate([histories.offsets[:8], histories.offsets[1:9] - 1, histories.offsets[:8] + 5])
    for chosen, log_shares_BI in iter_log_probs(
        learner.build_final_network(), learner.streams, events_Q, blend=without_fashion
    ):
        for event, expected_I in zip(events_Q[chosen].tolist(), log_shares_BI.exp().numpy(), strict=True):
            user = int(np.searchsorted(histories.offsets, event, side="right")) - 1
            user_id = histories.user_ids[user]
            query = Query(
                user_id=user_id,
                history=scorer.history(user_id)[: event - int(histories.offsets[user])],
                now=float(histories.timestamps[event]),
                context={"device": contexts[event % 3]},
            )
            np.testing.assert_allclose(scorer.scores(query), expected_I, atol=1e-5)


def test_what_is_in_fashion_at_the_end_of_the_data_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a part of the biases."""
    planned(monkeypatch, epochs=1, hidden=32, streams=16, bptt=8)
    learner = HrnnTrainer(make_task(training_data(walks(users=90, events=16)), HRNN, settings()), 1000)
    counters = Counters.count_events(walks(users=90, events=16), np.arange(90))
    learner.blend = CounterBlend(counters, BlendWeights(bias=0.5, fashion=(1.0, 0.0, -2.0)))
    added_I = learner.build_final_network().bias[:-1] - 0.5 * learner.network.fold_features().bias[:-1]
    in_fashion_FI = counters.fashion_MFI[-1]
    np.testing.assert_allclose(added_I.detach(), in_fashion_FI[0] - 2 * in_fashion_FI[2], atol=1e-5)


@pytest.mark.parametrize("repeats", [True, False], ids=["again and again", "once"])
def test_within_a_visit_the_answer_is_that_of_the_moment_of_the_last_event(tmp_path: Path, repeats: bool) -> None:
    scorer = Scorer.load(write_model(tmp_path / "model", make_data(repeats=repeats)))
    history = make_clicks("i1", "i2")
    last = history[-1].timestamp
    usual = scorer.scores(Query(user_id="ann", history=history, now=last))
    for later in (-HOUR, 0.5, 60, 1799, 1799.99):  # a clock may run ahead
        np.testing.assert_array_equal(scorer.scores(Query(user_id="ann", history=history, now=last + later)), usual)
    at_a_new_visit = scorer.scores(Query(user_id="ann", history=history, now=last + 1800))
    assert np.abs(at_a_new_visit - usual).max() > 1e-4


@pytest.mark.parametrize("repeats", [True, False], ids=["again and again", "once"])
def test_later_than_anybody_asked_in_training_the_answer_is_that_of_a_moment_that_is_known(
    tmp_path: Path, repeats: bool
) -> None:
    form = {"longest": 90_000.0, "instead": 7000.0}
    scorer = Scorer.load(write_model(tmp_path / "model", make_data(repeats=repeats), **form))
    history = make_clicks("i1", "i2")
    last = history[-1].timestamp
    usual = scorer.scores(Query(user_id="ann", history=history, now=last + 7000))
    for years in (1, 7, 100):
        later = scorer.scores(Query(user_id="ann", history=history, now=last + years * 365 * 24 * HOUR))
        np.testing.assert_array_equal(later, usual)
    np.testing.assert_array_equal(scorer.scores(Query(user_id="ann", history=history, now=last + 90_000)), usual)
    before = scorer.scores(Query(user_id="ann", history=history, now=last + 89_999))
    assert np.abs(before - usual).max() > 1e-4


def test_what_nobody_takes_again_is_not_answered_to_whom_has_had_it(tmp_path: Path) -> None:
    scorer = Scorer.load(write_model(tmp_path / "model", make_data(repeats=False)))
    scores = scorer.scores(Query(user_id="ann", history=make_clicks("i1", "i2", "i1"), now=NOW))
    assert scores[[1, 2]].tolist() == [0.0, 0.0]
    assert (np.delete(scores, [1, 2]) > 0).all()
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("repeats", [True, False], ids=["again and again", "once"])
def test_whom_nothing_is_new_to_is_answered_too(tmp_path: Path, repeats: bool) -> None:
    """By all that was had, or, where that is not answered, by what is popular."""
    scorer = Scorer.load(write_model(tmp_path / "model", make_data(repeats=repeats)))
    history = make_clicks(*(f"i{item}" for item in range(9)))
    scores = scorer.scores(Query(user_id="ann", history=history, now=NOW, context={"device": "tv"}))
    assert scores.sum() == pytest.approx(1.0, abs=1e-5)
    assert (scores > 0).all()
    assert np.allclose(scores, POPULARITY) != repeats


def test_a_network_that_is_certain_is_no_reason_to_fail(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", make_data())
    network = network_of(folder)
    for certain, repeated in ((5000.0, 1.0), (-5000.0, 0.0)):
        with torch.no_grad():
            network.again.of_user.bias.fill_(certain)  # type: ignore[union-attr]
        save_file(network.state_dict(), folder / WEIGHTS)
        scores = Scorer.load(folder).scores(Query(user_id="ann", history=make_clicks("i1", "i2"), now=NOW))
        assert scores[[1, 2]].sum() == pytest.approx(repeated, abs=1e-5)
        assert scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_each_item_of_a_history_is_one_pair_as_it_stands_last() -> None:
    """At the moment of the request, which begins the third visit."""
    form = HrnnConfig(items=9, hidden=32, event_types=2, repeats=True)
    at = torch.tensor([0.0, 10.0, 20.0, 3000.0, 3010.0], dtype=torch.double)
    pairs = history_pairs(form, torch.tensor([7, 3, 7, 7, 5]), at, torch.tensor([0, 1, 1, 2, 0]), now=6010.0)
    assert pairs.rows.tolist() == [0, 0, 0]
    assert pairs.items.tolist() == [3, 5, 7]
    assert pairs.types is not None
    assert pairs.types.tolist() == [1, 0, 2]
    assert pairs.features is not None
    seconds_S, events_S, visits_S, counts_S = np.exp(pairs.features[:, :4].numpy()).T
    assert seconds_S - 1 == pytest.approx([6000, 3000, 3010], abs=0.01)
    assert events_S == pytest.approx([4, 1, 2], abs=1e-5)
    assert visits_S - 1 == pytest.approx([2, 1, 1], abs=1e-5)
    assert counts_S == pytest.approx([1, 1, 3], abs=1e-5)
    ratios = pairs.features[:, 5:7].tolist()
    assert ratios[0] == ratios[1] == [0.0, 0.0]
    assert ratios[2] == pytest.approx([np.log(3011 / 1501), 1.0], abs=1e-5)
    faded = np.exp(pairs.features[:, 7].numpy())
    assert faded.tolist() == pytest.approx([1 / 4, 1 / 2, (2 / 2 + 1) / 2], abs=1e-5)
    without = history_pairs(replace(form, repeats=False), torch.tensor([7, 3, 7]), at[:3], torch.zeros(3), now=0.0)
    assert without.items.tolist() == [3, 7]
    assert without.features is None


def test_nobody_has_taken_anything_yet() -> None:
    network = make_network(HrnnConfig(items=9, hidden=32, repeats=True)).eval()
    nothing = torch.zeros(0, dtype=torch.long)
    log_shares = history_log_shares(network, nothing, nothing.double(), nothing, NOW)
    assert log_shares.exp().sum() == pytest.approx(1.0, abs=1e-5)
    streams = Streams(training_data(histories_of({"a": [("x", 1)]})), np.ones(1, np.float32))
    read = streams.read_events(torch.tensor([[0]]), torch.tensor([[0]]))
    x, _ = network(read._replace(items=torch.tensor([[9]])), network.create_state(1))
    plain = network.compute_logits(network.compute_query(x[-1], torch.zeros(1)))[0].log_softmax(-1)
    torch.testing.assert_close(log_shares, plain)


def test_threads_may_share_it(scorer: Scorer) -> None:
    histories = [make_clicks(f"i{n % 9}", f"i{(3 * n + 1) % 9}", f"i{(5 * n) % 9}") for n in range(40)]

    def score(history: list[Past]) -> np.ndarray:
        return scorer.scores(Query(user_id="ann", history=history, now=NOW))

    alone = [score(history) for history in histories]
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose(list(pool.map(score, histories)), alone, rtol=1e-5)
