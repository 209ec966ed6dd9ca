"""What is printed of a training."""

from __future__ import annotations

from typing import Any

from services.cli.screen import build_metrics_table, describe_remarks


def test_metrics_that_only_some_recipes_have_are_printed_under_their_keys() -> None:
    table = build_metrics_table("aws-item-affinity", {"hits_at_1_percent": 1.8333, "coverage": 0.2}, {"coverage": 0.1})
    assert list(table.columns[0].cells) == ["coverage", "hits_at_1_percent"]
    assert list(table.columns[1].cells) == ["0.2000", "1.8333"]
    assert list(table.columns[3].cells) == ["2.00x", ""]


NDCG, COVERAGE = "normalized_discounted_cumulative_gain_at_25", "coverage"


def view(users: int, *values: float) -> dict[str, Any]:
    named = zip(("model", "popularity", "personal_frequency"), values, strict=True)
    return {"users": users, **{name: {NDCG: value} for name, value in named}}


def test_both_views_of_a_report_stand_in_one_table_beside_the_better_of_two() -> None:
    report = {"raw": view(1200, 0.3, 0.1, 0.4), "unseen": view(90, 0.2, 0.08, 0.08)}
    table = build_metrics_table("aws-hrnn", {NDCG: 0.3, COVERAGE: 0.6}, {NDCG: 0.1, COVERAGE: 0.5}, report)
    assert [column.header for column in table.columns][1:] == ["aws-hrnn", "popularity", "personal frequency", "ratio"]
    assert list(zip(*(column.cells for column in table.columns), strict=True)) == [
        ("NDCG@25 raw", "0.3000", "0.1000", "0.4000", "0.75x"),
        ("NDCG@25 unseen", "0.2000", "0.0800", "0.0800", "2.50x"),
        ("coverage", "0.6000", "0.5000", "", "1.20x"),
    ]
    assert "1,200 users took; unseen: what was new to 90 of them" in str(table.caption)


def test_a_view_of_nobody_is_not_shown() -> None:
    report = {"raw": view(3, 0.3, 0.1, 0.4), "unseen": None}
    table = build_metrics_table("aws-hrnn", {NDCG: 0.3}, None, report)
    assert list(table.columns[0].cells) == ["NDCG@25 raw"]
    assert "unseen" not in str(table.caption)


def test_the_remarks_of_a_batch_job_count_the_lines_that_failed() -> None:
    assert describe_remarks({"lines": 12_000, "failed": 3}) == "3 of 12,000 lines have an error"
    assert describe_remarks({"lines": 12_000, "failed": 0}) == ""
    told = describe_remarks({"lines": 2, "failed": 1, "skipped": ["README.md"]})
    assert told == "1 of 2 lines have an error; skipped README.md"
