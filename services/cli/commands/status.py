"""``foretaste status``: every resource and how far it is, asked of the API."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live
from rich.table import Table as Grid

from services.cli import screen
from services.cli.local import signals
from services.cli.options import DEFAULT_DATA_DIR, client_data_dir
from services.cli.screen import describe_progress, describe_remarks

if TYPE_CHECKING:
    from services.cli.client import Personalize

REFRESH_SECONDS = 1.0

#: Further kinds of resource in a dataset group, and the operation that lists each.
_OF_A_GROUP = {
    "event tracker": "list_event_trackers",
    "filter": "list_filters",
    "metric attribution": "list_metric_attributions",
    "data deletion job": "list_data_deletion_jobs",
}


@dataclass(frozen=True)
class Row:
    """One line: a resource, indented by ``depth`` below its parent."""

    depth: int
    kind: str
    name: str
    status: str
    note: str


@click.command()
@click.option("--watch", is_flag=True, help="Keep the table current until Ctrl-C.")
@client_data_dir
def status(watch: bool, data_dir: Path | None) -> None:
    """Show all resources with their status; of a version in training its epoch, loss and remaining time."""
    from services.cli.client import connect, find_client_variables

    aws = connect(find_client_variables(data_dir, DEFAULT_DATA_DIR))
    console = screen.create_console()
    told: dict[str, str] = {}
    if not watch:
        console.print(_build_table(list(list_rows(aws, told))))
        return
    stopping = threading.Event()
    with signals.note_signals(stopping), Live(_build_table(list(list_rows(aws, told))), console=console) as live:
        while not stopping.wait(REFRESH_SECONDS):
            live.update(_build_table(list(list_rows(aws, told))))


def list_rows(aws: Personalize, told: dict[str, str]) -> Iterator[Row]:
    """Return every resource below its parent. ``told`` caches the remarks of ended jobs, which do not change."""
    from services.cli.resource_life import iter_summaries

    batch_jobs: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for kind in ("batch inference job", "batch segment job"):
        for job in iter_summaries(aws, f"list_{kind.replace(' ', '_')}s"):
            batch_jobs.setdefault(job["solutionVersionArn"], []).append((kind, job))
    for group in iter_summaries(aws, "list_dataset_groups"):
        yield _build_row(0, "dataset group", group)
        arn = group["datasetGroupArn"]
        for dataset in iter_summaries(aws, "list_datasets", datasetGroupArn=arn):
            yield _build_row(1, "dataset", dataset)
            for job in iter_summaries(aws, "list_dataset_import_jobs", datasetArn=dataset["datasetArn"]):
                yield _build_row(2, "dataset import job", job, _describe_job(aws, "dataset_import_job", job, told))
            for job in iter_summaries(aws, "list_dataset_export_jobs", datasetArn=dataset["datasetArn"]):
                yield _build_row(2, "dataset export job", job)
        for solution in iter_summaries(aws, "list_solutions", datasetGroupArn=arn):
            yield _build_row(1, "solution", solution)
            for version in iter_summaries(aws, "list_solution_versions", solutionArn=solution["solutionArn"]):
                yield _build_row(2, "solution version", version, _describe_progress(aws, "solution_version", version))
                for kind, job in batch_jobs.get(version["solutionVersionArn"], ()):
                    yield _build_row(3, kind, job, _describe_job(aws, kind.replace(" ", "_"), job, told))
            for campaign in iter_summaries(aws, "list_campaigns", solutionArn=solution["solutionArn"]):
                yield _build_row(2, "campaign", campaign)
        for recommender in iter_summaries(aws, "list_recommenders", datasetGroupArn=arn):
            yield _build_row(1, "recommender", recommender, _describe_progress(aws, "recommender", recommender))
        for kind, operation in _OF_A_GROUP.items():
            for found in iter_summaries(aws, operation, datasetGroupArn=arn):
                yield _build_row(1, kind, found)
    for schema in iter_summaries(aws, "list_schemas"):
        yield _build_row(0, "schema", schema)


def _build_row(depth: int, kind: str, summary: Mapping[str, Any], note: str = "") -> Row:
    arn = next(value for member, value in summary.items() if member.endswith("Arn"))
    name = summary.get("name") or summary.get("jobName") or arn.partition("/")[2]
    return Row(depth, kind, str(name), summary.get("status", ""), note or summary.get("failureReason", ""))


def _describe_job(aws: Personalize, what: str, job: Mapping[str, Any], told: dict[str, str]) -> str:
    from services.cli.resource_life import get_arn_member, read_remarks
    from shared.state.lifecycle import ACTIVE

    arn = job[get_arn_member(what)]
    if job["status"] != ACTIVE:
        return _describe_progress(aws, what, job)
    if arn not in told:
        try:
            told[arn] = describe_remarks(read_remarks(aws, what, arn))
        except aws.control.exceptions.ResourceNotFoundException:  # deleted since it was listed
            return ""
    return told[arn]


def _describe_progress(aws: Personalize, what: str, summary: Mapping[str, Any]) -> str:
    from services.cli.resource_life import describe_resource, get_arn_member
    from shared.state.lifecycle import TERMINAL

    if summary["status"] in TERMINAL:
        return ""
    try:
        _, progress = describe_resource(aws, what, summary[get_arn_member(what)])
    except aws.control.exceptions.ResourceNotFoundException:  # deleted since it was listed
        return ""
    if "rows" in progress:
        return f"{progress['rows']:,} rows"
    return describe_progress(progress) if progress else ""


def _build_table(found: list[Row]) -> Grid:
    grid = Grid(caption=time.strftime("%H:%M:%S") if found else "no resources yet", caption_justify="left")
    for title in ("resource", "name", "status", ""):
        grid.add_column(title)
    for row in found:
        grid.add_row("  " * row.depth + row.kind, row.name, row.status, row.note)
    return grid
