"""``foretaste train``: a new version of a dataset group's solution, evaluated and put behind its campaign."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli import screen
from services.cli.options import DEFAULT_DATA_DIR, DEFAULT_RECIPE, client_data_dir, name_option
from services.cli.screen import build_metrics_table, show_step


@click.command()
@name_option
@click.option("--recipe", default=DEFAULT_RECIPE, show_default=True, help="Recipe, by its name.")
@click.option("--deploy/--no-deploy", default=True, show_default=True, help="Let the campaign NAME serve it.")
@client_data_dir
def train(name: str, recipe: str, deploy: bool, data_dir: Path | None) -> None:
    """Train a recommender on the data imported as NAME, and print its metrics.

    Ctrl-C ends this command alone: the server goes on with the training.
    """
    from services.cli.client import connect, find_client_variables
    from services.cli.resource_life import ResourceLife, stop_on_interrupt

    life = ResourceLife(connect(find_client_variables(data_dir, DEFAULT_DATA_DIR)), name)
    then = "The campaign is not changed." if deploy else ""
    click.get_current_context().with_resource(stop_on_interrupt(life, then))
    console = screen.create_console()
    with show_step(console, "solution") as shown:
        group = life.create_dataset_group(shown.watch)
        solution = life.create_solution(group, recipe, shown.watch)
        shown.conclude(solution)
    with show_step(console, "solution version") as shown:
        version = life.create_solution_version(solution, shown.watch)
        shown.conclude(version)
    metrics = life.get_metrics(version)
    console.print(build_metrics_table(recipe, metrics.model, metrics.popularity, metrics.report))
    if deploy:
        with show_step(console, "campaign") as shown:
            shown.conclude(life.deploy_campaign(version, shown.watch))
