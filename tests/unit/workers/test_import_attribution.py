"""The rows of an import, summed for a metric attribution: the report as AWS writes it, and the sums that are added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.status.attribution import ItemNumbers
from shared.jobs.entrypoint import WorkFailed, WorkStopped
from shared.resources import ResourceReader
from shared.resources.dataset_import_job import ROWS
from shared.resources.metric_attribution.metrics import UNDEFINED
from shared.serving.recommendation_ids import create_recommendation_id
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS
from shared.storage.folder_buckets import FolderBuckets
from tests.unit.services.attribution_world import ARN, CAMPAIGN, NOW, PREFIX, AttributionWorld, metric
from tests.unit.shared.data import parquet_files
from workers.importing.attribution import ImportSummer, find_attribution

JOB = f"{PREFIX}:dataset-import-job/j"
NAME = f"AggregatedAttributionMetrics - BULK - {NOW + 1}000.csv"
COLUMNS = {
    **parquet_files.IDS,
    "EVENT_TYPE": "VARCHAR",
    "SECONDS": "FLOAT",
    "PRICE": "DOUBLE",
    "EVENT_ATTRIBUTION_SOURCE": "VARCHAR",
    "RECOMMENDATION_ID": "VARCHAR",
}
OLD = NOW - 20 * 24 * 3600


def row(at: float, event_type: str = "click", item: str = "i", **more: Any) -> tuple[Any, ...]:
    given = {"USER_ID": "u", "ITEM_ID": item, "TIMESTAMP": at, "EVENT_TYPE": event_type, **more}
    return tuple(given.get(column) for column in COLUMNS)


@pytest.fixture
def world(tmp_path: Path) -> AttributionWorld:
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    return AttributionWorld(tmp_path)


def create_job(world: AttributionWorld, *, publish: bool | None = True) -> None:
    """A job that is a second younger than NOW, in progress."""
    body = {"datasetArn": world.interactions, "publishAttributionMetricsToS3": publish}
    world.put(JOB, "dataset_import_job", body, CREATE_IN_PROGRESS)
    world.change(JOB, created=NOW + 1.0)


def attribute(
    world: AttributionWorld,
    *rows: tuple[Any, ...],
    columns: dict[str, str] = COLUMNS,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """What an import does once it has written its rows."""
    reader = ResourceReader(world.store, Settings(import_memory_mb=256))
    job = world.record(JOB)
    attribution = find_attribution(job, world.record(world.interactions), reader)
    assert attribution is not None
    artifacts = world.process.artifacts
    summer = ImportSummer(attribution, job, reader, world.store, artifacts, on_step)
    scratch = world.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    with artifacts.fill_artifact(JOB, 1) as folder:
        parquet_files.parquet(folder / ROWS, columns, rows)
        summer.attribute_rows(folder, scratch, FolderBuckets(world.folder / "s3", {}))


def report(world: AttributionWorld) -> list[str]:
    header, *lines = (world.folder / "s3" / "bucket" / "reports" / NAME).read_text().splitlines()
    assert header == "METRIC_NAME,EVENT_TYPE,VALUE,MATH_FUNCTION,EVENT_ATTRIBUTION_SOURCE,TIMESTAMP"
    return lines


def test_the_report_has_a_line_for_each_metric_source_and_quarter_of_an_hour(world: AttributionWorld) -> None:
    world.attribute(
        metric("clicks"), metric("sales", "SUM(ITEMS.price)"), metric("seconds", "sum(interactions.Seconds)")
    )
    world.put_item("i", price=2.5)
    create_job(world)
    recommendation = create_recommendation_id(CAMPAIGN)
    attribute(
        world,
        row(NOW, "CLICK", EVENT_ATTRIBUTION_SOURCE="mail, and more", RECOMMENDATION_ID=recommendation, SECONDS=1.5),
        row(NOW + 899, EVENT_ATTRIBUTION_SOURCE="mail, and more"),
        row(NOW, RECOMMENDATION_ID=recommendation, SECONDS=-2.0),
        row(NOW, item="unknown", EVENT_ATTRIBUTION_SOURCE=CAMPAIGN),
        row(OLD, RECOMMENDATION_ID="RID-21-471f-bf00-7cc2983ae289-CID-3bc5e1"),
        row(NOW, "buy"),
    )
    assert report(world) == [
        f"clicks,Click,1.0,samplecount,{UNDEFINED},{OLD}",
        f"clicks,Click,2.0,samplecount,{CAMPAIGN},{NOW}",
        f'clicks,Click,2.0,samplecount,"mail, and more",{NOW}',
        f"sales,Click,2.5,sum,{UNDEFINED},{OLD}",
        f"sales,Click,2.5,sum,{CAMPAIGN},{NOW}",
        f'sales,Click,5.0,sum,"mail, and more",{NOW}',
        f"seconds,Click,-2.0,sum,{CAMPAIGN},{NOW}",
        f'seconds,Click,1.5,sum,"mail, and more",{NOW}',
    ]
    world.sum_up()
    assert world.values(endTime=NOW + 900) == {}
    world.change(JOB, status=ACTIVE, in_progress=None)
    world.sum_up()
    assert world.values(endTime=NOW + 900) == {
        ("clicks", CAMPAIGN): (2.0, 2),
        ("clicks", "mail, and more"): (2.0, 2),
        ("sales", CAMPAIGN): (2.5, 1),
        ("sales", "mail, and more"): (5.0, 2),
        ("seconds", CAMPAIGN): (-2.0, 1),
        ("seconds", "mail, and more"): (1.5, 1),
    }


def test_a_repeated_attempt_writes_the_same_report_and_counts_once(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    create_job(world)
    for _ in range(2):
        attribute(world, row(NOW))
    world.change(JOB, status=ACTIVE)
    world.sum_up(ItemNumbers())
    assert world.values() == {("clicks", UNDEFINED): (1.0, 1)}
    assert [path.name for path in (world.folder / "s3" / "bucket" / "reports").iterdir()] == [NAME]


@pytest.mark.parametrize("publish", [False, None])
def test_without_the_flag_there_is_no_report_and_the_sums_count(world: AttributionWorld, publish: bool | None) -> None:
    world.attribute(metric("clicks"))
    create_job(world, publish=publish)
    attribute(world, row(NOW))
    assert not (world.folder / "s3" / "bucket" / "reports").exists()
    world.change(JOB, status=ACTIVE)
    world.sum_up()
    assert world.values() == {("clicks", UNDEFINED): (1.0, 1)}


def test_without_a_destination_there_is_no_report(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"), metricsOutputConfig={"roleArn": "arn:aws:iam::000000000000:role/r"})
    create_job(world)
    attribute(world, row(NOW))
    assert list((world.folder / "s3" / "bucket").iterdir()) == []


def test_a_report_that_cannot_be_written_fails_the_import_with_a_reason(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    create_job(world)
    (world.folder / "s3" / "bucket").rmdir()
    with pytest.raises(WorkFailed, match=f"The report of {ARN} can't be written: .*There is no bucket bucket"):
        attribute(world, row(NOW))
    assert dict(world.store.read_waiting_data(ARN, 1).jobs) == {}


def test_items_that_cannot_be_read_fail_the_import_with_a_reason(world: AttributionWorld) -> None:
    world.attribute(metric("sales", "SUM(Items.PRICE)"))
    create_job(world)
    world.put(f"{PREFIX}:dataset-import-job/lost", "dataset_import_job", {"importMode": "FULL"}, parents=(world.items,))
    with pytest.raises(WorkFailed, match=r"can't be summed .* The artifact of .*/lost is missing"):
        attribute(world, row(NOW))


def test_without_items_and_without_the_columns_of_events_nothing_is_summed(world: AttributionWorld) -> None:
    world.attribute(metric("sales", "SUM(Items.PRICE)"), metric("clicks"), metric("s", "SUM(Interactions.SECONDS)"))
    world.remove(world.items)
    create_job(world)
    attribute(world, ("u", "i", NOW, "click"), columns={**parquet_files.IDS, "EVENT_TYPE": "VARCHAR"})
    assert report(world) == [f"clicks,Click,1.0,samplecount,{UNDEFINED},{NOW}"]
    attribute(world, ("u", "i", NOW), columns=parquet_files.IDS)
    assert report(world) == []


def test_a_metric_that_is_younger_than_the_import_does_not_count_it(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    create_job(world)
    world.at += 5
    world("UpdateMetricAttribution", metricAttributionArn=ARN, addMetrics=[metric("later")])
    world.settle()
    attribute(world, row(NOW))
    assert report(world) == [f"clicks,Click,1.0,samplecount,{UNDEFINED},{NOW}"]


def test_numbers_near_the_largest_are_summed(world: AttributionWorld) -> None:
    world.attribute(metric("a", "SUM(Interactions.PRICE)"))
    create_job(world)
    attribute(world, *(row(NOW, PRICE=price) for price in (1.7e308, 1.7e308, float("nan"), float("inf"))))
    assert report(world) == [f"a,Click,2e+300,sum,{UNDEFINED},{NOW}"]


def test_an_import_counts_for_an_attribution_of_its_group_that_is_older(world: AttributionWorld) -> None:
    create_job(world)
    job, reader = world.record(JOB), ResourceReader(world.store, Settings())
    dataset = world.record(world.interactions)
    assert find_attribution(job, dataset, reader) is None
    world.attribute(metric("clicks"))
    found = find_attribution(job, dataset, reader)
    assert found is not None
    assert found.arn == ARN
    assert find_attribution(replace(job, created=NOW - 1.0), dataset, reader) is None
    assert find_attribution(job, world.record(world.items), reader) is None


def test_the_work_ends_when_it_is_told_to(world: AttributionWorld) -> None:
    world.attribute(metric("clicks"))
    create_job(world)

    def stop() -> None:
        raise WorkStopped

    with pytest.raises(WorkStopped):
        attribute(world, row(NOW), on_step=stop)
