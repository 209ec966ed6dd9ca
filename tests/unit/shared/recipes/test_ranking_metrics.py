"""The metrics against AWS's definitions, with vectors worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from shared.recipes import ranking_metrics


def hits_at(*positions: int, length: int = 25) -> np.ndarray:
    row = np.zeros((1, length), dtype=bool)
    row[0, [position - 1 for position in positions]] = True
    return row


def test_reciprocal_rank_is_the_mean_over_queries_of_the_first_hit() -> None:
    hits = np.concatenate([hits_at(4), hits_at(2, 3), hits_at(6)])
    assert ranking_metrics.compute_mean_reciprocal_rank(hits) == pytest.approx((1 / 4 + 1 / 2 + 1 / 6) / 3)


def test_two_hits_of_two_relevant() -> None:
    hits = hits_at(2, 5)
    assert ranking_metrics.compute_mean_reciprocal_rank(hits) == 0.5
    assert ranking_metrics.compute_precision(hits, 5) == 0.4
    ndcg = ranking_metrics.compute_ndcg(hits, np.array([2]), 5)
    assert ndcg == pytest.approx(0.6241, abs=5e-5)


def test_the_ideal_counts_held_out_items_that_were_not_found() -> None:
    ndcg = ranking_metrics.compute_ndcg(hits_at(2, 5), np.array([3]), 5)
    assert ndcg == pytest.approx(0.4776, abs=5e-5)


def test_the_ideal_has_at_most_k_hits() -> None:
    hits = hits_at(1, 2, 3, 4, 5)
    assert ranking_metrics.compute_ndcg(hits, np.array([40]), 5) == pytest.approx(1.0)


def test_precision_divides_by_k_and_not_by_the_length_of_the_list() -> None:
    assert ranking_metrics.compute_precision(hits_at(1, 5, 10), 10) == pytest.approx(0.3)
    assert ranking_metrics.compute_precision(hits_at(1, 2, 3, length=6), 10) == pytest.approx(0.3)


def test_a_hit_below_the_25th_position_counts_for_nothing() -> None:
    assert ranking_metrics.compute_mean_reciprocal_rank(hits_at(26, length=30)) == 0.0
    assert ranking_metrics.compute_ndcg(hits_at(26, length=30), np.array([1]), 25) == 0.0


def test_coverage_is_the_share_of_distinct_items() -> None:
    assert ranking_metrics.compute_coverage(np.array([[0, 1], [1, 2]]), 12) == 0.25


def test_the_answer_has_awss_eight_keys_with_four_decimals() -> None:
    hits = np.concatenate([hits_at(2, 5), hits_at(4)])
    recommended = np.stack([np.arange(25), np.arange(25, 50)])
    answer = ranking_metrics.compute_metrics(hits, np.array([3, 1]), recommended, 150)
    assert list(answer) == [
        "coverage",
        "mean_reciprocal_rank_at_25",
        "normalized_discounted_cumulative_gain_at_10",
        "normalized_discounted_cumulative_gain_at_25",
        "normalized_discounted_cumulative_gain_at_5",
        "precision_at_10",
        "precision_at_25",
        "precision_at_5",
    ]
    assert answer["coverage"] == 0.3333
    assert answer["mean_reciprocal_rank_at_25"] == 0.375
    assert answer["precision_at_5"] == 0.3
    assert answer["normalized_discounted_cumulative_gain_at_5"] == pytest.approx((0.47762 + 0.43068) / 2, abs=1e-4)


def test_a_catalogue_of_fewer_than_25_items_is_evaluated_too() -> None:
    answer = ranking_metrics.compute_metrics(hits_at(1, length=10), np.array([1]), np.arange(10)[None], 10)
    assert answer["normalized_discounted_cumulative_gain_at_25"] == 1.0
    assert answer["precision_at_25"] == 0.04


def test_rewards_are_shared_out_over_the_best_that_could_be_had() -> None:
    """Of what two users took, worth 5, 3 and 2, and 4, one was recommended what is worth 3 and 2, the other nothing."""
    gains = np.array([[0.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    possible = np.array([[5.0, 3.0, 2.0], [4.0, 0.0, 0.0]])
    assert ranking_metrics.compute_average_rewards(gains, possible) == pytest.approx((0.5 + 0) / 2)
    assert ranking_metrics.compute_average_rewards(possible, possible) == 1.0
    assert ranking_metrics.compute_average_rewards(gains[:, :2], np.zeros((2, 3))) == 0.0


def test_a_hit_counts_what_its_event_is_worth() -> None:
    """AWS's example: purchases of weight .3 and clicks of weight .1 earn 1.5 and .5."""
    possible = np.array([[0.3, 0.1, 0.0, 0.0, 0.0]])
    bought, clicked = np.array([[0.0, 0.3, 0, 0, 0]]), np.array([[0.0, 0.1, 0, 0, 0]])
    ideal = 1.5 + 0.5 / np.log2(3)
    assert ranking_metrics.compute_weighted_ndcg(bought, possible) == pytest.approx(1.5 / np.log2(3) / ideal)
    assert ranking_metrics.compute_weighted_ndcg(clicked, possible) == pytest.approx(0.5 / np.log2(3) / ideal)
    assert ranking_metrics.compute_weighted_ndcg(5 * bought, 5 * possible) == pytest.approx(
        ranking_metrics.compute_weighted_ndcg(bought, possible)
    )


def test_with_equal_worth_it_is_the_plain_gain() -> None:
    hits = np.array([[False, True, False, False, True]])
    possible = np.array([[0.7, 0.7, 0.7, 0.0, 0.0]])
    plain = ranking_metrics.compute_ndcg(hits, np.array([3]), 5)
    assert (
        ranking_metrics.compute_weighted_ndcg(0.7 * hits, possible)
        == pytest.approx(plain)
        == pytest.approx(0.4776, abs=1e-4)
    )
