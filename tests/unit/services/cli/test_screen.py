"""What is printed of a training."""

from __future__ import annotations

from services.cli.screen import metrics_table


def test_metrics_that_only_some_recipes_have_are_printed_under_their_keys() -> None:
    table = metrics_table("aws-item-affinity", {"hits_at_1_percent": 1.8333, "coverage": 0.2}, {"coverage": 0.1})
    assert list(table.columns[0].cells) == ["coverage", "hits_at_1_percent"]
    assert list(table.columns[1].cells) == ["0.2000", "1.8333"]
    assert list(table.columns[3].cells) == ["2.0x", ""]
