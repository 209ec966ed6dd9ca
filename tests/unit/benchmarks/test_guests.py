"""The peers that live in .venv-peers, where that has been made: each fits and scores a task of seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import data, guest_process, guests, protocols

BRIEF = {"epochs": 2, "batch": 16, "length": 12, "factors": 8}


def chain() -> protocols.Task:
    """Everybody goes from item to item + 1, round and round; item 12 is in the catalogue alone."""
    rng = np.random.default_rng(0)
    users, events, items = 40, 12, 12
    chosen = (rng.integers(items, size=users)[:, None] + np.arange(events)) % items
    histories = data.histories_of(
        np.repeat(np.arange(users), events),
        chosen.ravel(),
        1_600_000_000 + np.cumsum(rng.integers(1, 4000, (users, events)), axis=1).ravel(),
        user_ids=[f"u{number:02}" for number in range(users)],
        item_ids=[f"i{number:02}" for number in range(items + 1)],
    )
    return protocols.h10(histories)


@pytest.mark.peers
@pytest.mark.parametrize("peer", guests.GUESTS)
def test_every_guest_scores_all_items_it_knows_for_every_query(peer: str) -> None:
    task = chain()
    found = guests.scored(peer, task, seed=0, threads=1, settings={} if peer == "als" else BRIEF)
    assert found.scores_QI.shape == (40, 13)
    assert np.isfinite(found.scores_QI[:, :12]).all()
    assert found.seconds > 0


@pytest.mark.peers
def test_gru4rec_learns_the_chain() -> None:
    task = chain()
    settings = {**BRIEF, "epochs": 30, "rate": 0.02, "factors": 16}
    found = guests.scored("gru4rec", task, seed=0, threads=1, settings=settings)
    assert protocols.measure(lambda _: found.scores_QI, task.queries)["raw"]["MRR@25"] > 0.9
    assert np.isneginf(found.scores_QI[:, 12]).all()


@pytest.mark.peers
def test_the_moment_of_the_request_reaches_hstu() -> None:
    task = chain()
    later = [replace(task.queries[0], now=task.queries[0].now + many * 86400) for many in (0, 1, 0)]
    scores_QI = guests.scored("hstu", replace(task, queries=later), seed=0, threads=1, settings=BRIEF).scores_QI
    assert np.allclose(scores_QI[0], scores_QI[2], atol=1e-6)
    assert not np.allclose(scores_QI[0], scores_QI[1], atol=1e-6)


def test_negatives_are_drawn_by_popularity_and_their_share_is_known() -> None:
    counts_I = np.array([0, 1, 16])
    negative = guest_process.Negatives(counts_I, 20_000, 0.5, np.random.default_rng(0))
    assert np.exp(negative.logs_I[1:].numpy()) == pytest.approx([4_000, 16_000], rel=1e-4)
    drawn_I = np.bincount(negative.drawn().numpy(), minlength=3)
    assert drawn_I[0] == 0
    assert drawn_I[1] == pytest.approx(4_000, rel=0.1)


def test_sampled_softmax_less_log_q_is_near_the_softmax_over_all_items() -> None:
    rng = np.random.default_rng(0)
    counts_I = rng.integers(1, 100, 50)
    network = guest_process.Gru4Rec(50, 8, dropout=0.0)
    history = rng.integers(50, size=200)
    negative = guest_process.Negatives(counts_I, 50_000, 0.75, rng)
    sampled = network.loss([history], negative).item()
    scores_TI = network.scores([history[: end + 1] for end in range(199)])
    logs_T = np.log(np.exp(scores_TI).sum(1)) - scores_TI[np.arange(199), history[1:]]
    assert sampled == pytest.approx(float(logs_T.mean()), abs=0.02)
