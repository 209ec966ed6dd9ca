"""``foretaste attribution``: print the sums of a metric attribution by metric and source."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table as Grid

from services.cli import screen
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir

#: The longest time for which sums are kept (days).
MOST_DAYS = 63


@click.command()
@click.option("--name", metavar="NAME", help="Name of the metric attribution. [default: the only one there is]")
@click.option("--days", type=click.IntRange(1, MOST_DAYS), default=7, show_default=True, help="How far back.")
@client_data_dir
def attribution(name: str | None, days: int, data_dir: Path | None) -> None:
    """Print what a metric attribution has summed, with events for each recommendation and their 95 % interval."""
    from services.cli.client import connect, find_client_variables
    from services.cli.resource_life import iter_summaries

    aws = connect(find_client_variables(data_dir, DEFAULT_DATA_DIR))
    standing = {one["name"]: one["metricAttributionArn"] for one in iter_summaries(aws, "list_metric_attributions")}
    if name is None and len(standing) != 1:
        raise click.UsageError(f"--name is needed; metric attributions: {', '.join(sorted(standing)) or 'none'}")
    chosen = name or next(iter(standing))
    if chosen not in standing:
        raise click.UsageError(f"no metric attribution {chosen}; there are: {', '.join(sorted(standing)) or 'none'}")
    request = {
        "metricAttributionArn": standing[chosen],
        "startTime": time.time() - days * 24 * 3600,
        # An hour is the shortest period of which so many days have no more values than an answer may hold.
        "period": 3600 if days < MOST_DAYS - 3 else 24 * 3600,
    }
    grid = Grid()
    grid.add_column("metric")
    grid.add_column("source", overflow="fold")
    for column in ("value", "events", "recommendations", "rate", "95 %"):
        grid.add_column(column, justify="right")
    token: dict[str, str] = {}
    while True:
        answer = aws.foretaste.list_metric_attribution_values(**request, **token)
        for value in answer["values"]:
            grid.add_row(*_describe_value(value))
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    screen.create_console().print(grid)


def _describe_value(value: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row."""
    interval = f"{value['rateLower']:.4f} to {value['rateUpper']:.4f}" if "rateLower" in value else ""
    return (
        value["metricName"],
        value["eventAttributionSource"],
        f"{value['value']:,.10g}",
        f"{value['sampleCount']:,}",
        f"{value['recommendations']:,}" if "recommendations" in value else "",
        f"{value['rate']:.4f}" if "rate" in value else "",
        interval,
    )
