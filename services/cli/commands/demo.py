"""``foretaste demo``: a recommender's whole life on this machine, before your eyes.

It starts the local system and is from then on a boto3 client of it like any other: nothing that it shows is
known to it in another way than through the API and the data's own files.
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table as Grid

from services.cli import screen
from services.cli.local import signals
from services.cli.options import DEFAULT_RECIPE, appendfsync
from services.cli.screen import build_metrics_table, show_step

if TYPE_CHECKING:
    from services.cli.data.tables import Table
    from services.cli.data.titles import Viewer
    from services.cli.local.system import LocalSystem
    from services.cli.resource_life import ResourceLife, VersionMetrics

VIEWERS = 3
NEWEST = 5
ASKED = 50
SHOWN = 8
EVENTS = 3


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with interactions.csv, and maybe items.csv and users.csv. [default: a made-up film catalogue]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for all state, kept. [default: a temporary one, removed at the end]",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on. [default: a free one]")
@click.option("--exit-when-done", is_flag=True, help="End after the last step, instead of staying up.")
@appendfsync
def demo(data: Path | None, data_dir: Path | None, port: int, exit_when_done: bool, appendfsync: str) -> None:
    """Watch a recommender being born: import, train, evaluate, deploy, ask, and change by live events."""
    from services.cli.local.system import SystemOptions, run_local_system

    console = screen.create_console()
    stopping = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(signals.note_signals(stopping))
        home = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="foretaste-")))
        folder = (data or _write_demo_data(home / "catalogue", console)).absolute()
        bucket = _make_bucket_name(folder)
        wishes = SystemOptions(data_dir=home, port=port, buckets={bucket: folder}, appendfsync=appendfsync)

        def say(sentence: str) -> None:
            console.print(sentence, style="yellow", markup=False)

        with show_step(console, "system") as shown:
            shown.show_note("starting Redis, 4 HTTP services, 5 workers")
            system = stack.enter_context(run_local_system(wishes, say=say, stopping=stopping))
            shown.conclude(f"Redis, 4 HTTP services, 5 workers; {system.url}")
        try:
            with signals.raise_on_signal(stopping):
                _Demo(console, system, folder, bucket).run()
        except signals.Interrupted:
            console.print("stopped before the end")
        if not (exit_when_done or stopping.is_set()):
            console.print("The system stays up. Ctrl-C ends it.")
            system.supervisor.watch(stopping)
        console.print("stopping every process")


def _write_demo_data(folder: Path, console: Console) -> Path:
    from services.cli.data import demo_catalogue

    with show_step(console, "catalogue") as shown:
        demo_catalogue.write_demo_data(folder)
        shown.conclude(
            f"{demo_catalogue.USERS} viewers, {demo_catalogue.ITEMS:,} films, "
            f"{demo_catalogue.INTERACTIONS:,} views, made up"
        )
    return folder


def _make_bucket_name(folder: Path) -> str:
    """The folder's name as AWS allows it for buckets and resources."""
    name = re.sub(r"[^a-z0-9-]+", "-", folder.name.lower()).strip("-")
    return f"{name or 'data'}-demo"[:60]


@dataclass(frozen=True)
class _Deployed:
    """The resources that the first half of the demo created."""

    campaign: str
    tracking_id: str
    metrics: VersionMetrics


class _Demo:
    def __init__(self, console: Console, system: LocalSystem, folder: Path, bucket: str) -> None:
        from services.cli.client import connect
        from services.cli.data.titles import Viewing, read_titles
        from services.cli.resource_life import ResourceLife

        self._console = console
        self._system = system
        self._folder = folder
        self._bucket = bucket
        self._life: ResourceLife = ResourceLife(connect(system.client), bucket)
        self._viewing = Viewing(folder)
        self._titles = read_titles(folder / "items.csv")

    def run(self) -> None:
        began = time.monotonic()
        made = self._create_recommender()
        viewers = self._viewing.choose_viewers(VIEWERS, NEWEST)
        first = self._get_recommendations(made.campaign, viewers[0].user_id)
        self._console.print(f"First recommendation {time.monotonic() - began:.0f} s after the system was up.\n")
        found = made.metrics
        self._console.print(build_metrics_table(DEFAULT_RECIPE, found.model, found.popularity, found.report))
        lists = [first, *(self._get_recommendations(made.campaign, viewer.user_id) for viewer in viewers[1:])]
        for viewer, items in zip(viewers, lists, strict=True):
            self._console.print(self._show_viewer(viewer, items))
        self._show_live_event(made, viewers, lists)
        self._console.print("\nPoint any boto3, AWS CLI or AWS SDK client at it:\n")
        for name, value in self._system.client.items():
            self._console.print(f"export {name}={value}")
        self._console.print()

    def _create_recommender(self) -> _Deployed:
        from services.cli.data import tables

        life, console = self._life, self._console
        with show_step(console, "dataset group") as shown:
            found = tables.read_tables(self._folder)
            group = life.create_dataset_group(shown.watch)
            shown.conclude(self._bucket)
        for table in found:
            self._import_table(group, table)
        with show_step(console, "solution") as shown:
            solution = life.create_solution(group, DEFAULT_RECIPE, shown.watch)
            shown.conclude(DEFAULT_RECIPE)
        with show_step(console, "solution version: training") as shown:
            version = life.create_solution_version(solution, shown.watch, again=False)
            metrics = life.get_metrics(version)
            shown.conclude(f"NDCG@25 {metrics.model['normalized_discounted_cumulative_gain_at_25']:.4f}")
        with show_step(console, "campaign") as shown:
            campaign = life.deploy_campaign(version, shown.watch)
            shown.conclude("loaded, and a canary scored")
        with show_step(console, "event tracker") as shown:
            tracking_id = life.create_event_tracker(group, shown.watch)
            shown.conclude(tracking_id)
        return _Deployed(campaign, tracking_id, metrics)

    def _import_table(self, group: str, table: Table) -> None:
        kind = table.dataset_type.lower()
        with show_step(self._console, f"{kind}: schema, dataset") as shown:
            dataset = self._life.create_dataset(group, table.dataset_type, table.schema, shown.watch)
        with show_step(self._console, f"{kind}: import") as shown:
            location = f"s3://{self._bucket}/{table.path.name}"
            shown.rows = table.rows
            self._life.import_dataset(dataset, f"{self._bucket}-{kind}", location, shown.watch)
            shown.conclude(f"{table.rows:,} rows of {location}")

    def _get_recommendations(self, campaign: str, user_id: str) -> list[str]:
        answer = self._life.aws.runtime.get_recommendations(campaignArn=campaign, userId=user_id, numResults=ASKED)
        return [item["itemId"] for item in answer["itemList"]]

    def _get_title(self, item_id: str) -> str:
        return self._titles.get(item_id, item_id)

    def _show_viewer(self, viewer: Viewer, items: Sequence[str]) -> Grid:
        grid = Grid(
            title=f"User {viewer.user_id}", title_justify="left", title_style="bold", width=min(96, self._console.width)
        )
        grid.add_column(f"newest of {viewer.interactions} interactions", ratio=1)
        grid.add_column("recommended", ratio=1)
        newest = [self._get_title(item) for item in reversed(viewer.newest)]
        for row, item in enumerate(items[:SHOWN]):
            grid.add_row(newest[row] if row < len(newest) else "", self._get_title(item))
        return grid

    def _show_live_event(self, made: _Deployed, viewers: Sequence[Viewer], lists: Sequence[Sequence[str]]) -> None:
        """Send events of the first user for items recommended to another user, and show how the first list changes."""
        user, before = viewers[0].user_id, lists[0]
        # The other user is the user with the list that has least in common with the first user's.
        others = min(lists[1:] or [before], key=lambda items: len({*items[:SHOWN]} & {*before[:SHOWN]}))
        picked = [item for item in others if item not in before][:EVENTS] or list(others[:EVENTS])
        aws, kind = self._life.aws, self._viewing.find_event_type()
        sent = time.perf_counter()
        aws.events.put_events(
            trackingId=made.tracking_id,
            userId=user,
            sessionId=str(uuid.uuid4()),
            eventList=[
                {"eventId": str(uuid.uuid4()), "eventType": kind, "itemId": item, "sentAt": datetime.now(UTC)}
                for item in picked
            ],
        )
        kept = time.perf_counter()
        after = self._get_recommendations(made.campaign, user)
        answered = time.perf_counter()
        self._console.print(
            f"\nUser {user} now takes to: {'; '.join(self._get_title(item) for item in picked)}\n"
            f"PutEvents {1000 * (kept - sent):.0f} ms, "
            f"GetRecommendations with the events in it {1000 * (answered - kept):.0f} ms"
        )
        grid = Grid(
            title=f"User {user}'s list", title_justify="left", title_style="bold", width=min(96, self._console.width)
        )
        grid.add_column("before", ratio=1)
        grid.add_column("after", ratio=1)
        grid.add_column("moved", justify="right")
        for row, item in enumerate(after[:SHOWN]):
            grid.add_row(self._get_title(before[row]), self._get_title(item), _describe_move(before, item, row))
        self._console.print(grid)


def _describe_move(before: Sequence[str], item: str, row: int) -> str:
    if item not in before:
        return "new"
    up = list(before).index(item) - row
    return f"{up:+d}" if up else "="
