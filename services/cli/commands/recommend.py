"""``foretaste recommend``: print the recommendations of a campaign for a user."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table as Grid

from services.cli import screen
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir


@click.command()
@click.argument("user")
@click.option("--name", metavar="NAME", help="Name of the campaign. [default: the only one there is]")
@click.option("--results", type=click.IntRange(1, 500), default=10, show_default=True, help="How many items.")
@client_data_dir
def recommend(user: str, name: str | None, results: int, data_dir: Path | None) -> None:
    """Print the items that a campaign recommends to USER, by title where the imported items.csv is at hand."""
    from services.cli.client import connect, find_client_variables, find_server_dir
    from services.cli.data.titles import read_titles
    from services.cli.local.data_dir import DataDir
    from services.cli.resource_life import iter_summaries

    aws = connect(find_client_variables(data_dir, DEFAULT_DATA_DIR))
    campaigns = {one["name"]: one["campaignArn"] for one in iter_summaries(aws, "list_campaigns")}
    if name is None and len(campaigns) != 1:
        raise click.UsageError(f"--name is needed; campaigns: {', '.join(sorted(campaigns)) or 'none'}")
    chosen = name or next(iter(campaigns))
    if chosen not in campaigns:
        raise click.UsageError(f"no campaign {chosen}; campaigns: {', '.join(sorted(campaigns)) or 'none'}")
    answer = aws.runtime.get_recommendations(campaignArn=campaigns[chosen], userId=user, numResults=results)
    known = read_titles(DataDir(find_server_dir(data_dir, DEFAULT_DATA_DIR)).buckets / chosen / "items.csv")
    grid = Grid()
    grid.add_column("item")
    if known:
        grid.add_column("title")
    grid.add_column("score", justify="right")
    for item in answer["itemList"]:
        title = [known.get(item["itemId"], "")] if known else []
        score = f"{item['score']:.7f}" if "score" in item else ""
        grid.add_row(item["itemId"], *title, score)
    screen.create_console().print(grid)
