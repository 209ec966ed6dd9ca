"""``foretaste attribution`` against the API on the in-memory store, without a socket."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli import client
from services.cli.main import cli
from shared.serving.recommendation_ids import create_recommendation_id
from tests.unit.services.attribution_world import ARN, CAMPAIGN, AttributionWorld, metric


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AttributionWorld:
    world = AttributionWorld(tmp_path)
    world.at = time.time()

    def call(operation: str) -> Any:
        return lambda **request: world(operation, **request)

    connected = SimpleNamespace(
        control=SimpleNamespace(list_metric_attributions=call("ListMetricAttributions")),
        foretaste=SimpleNamespace(list_metric_attribution_values=call("ListMetricAttributionValues")),
    )
    monkeypatch.setattr(client, "connect", lambda _: connected)
    monkeypatch.setattr(client, "find_client_variables", lambda *_: {})
    monkeypatch.setattr(
        "services.cli.resource_life.iter_summaries",
        lambda aws, _: iter(aws.control.list_metric_attributions()["metricAttributions"]),
    )
    return world


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["attribution", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize("days", ["1", "7", "63"])
def test_it_works(world: AttributionWorld, days: str) -> None:
    world.attribute(metric("clicks"), metric("seconds", "SUM(Interactions.SECONDS)"))
    world.send(recommendationId=create_recommendation_id(CAMPAIGN))
    world.send(source="mail", properties={"seconds": 1234.5})
    world.sum_up()
    world.store.count_recommendations(ARN, {(CAMPAIGN, int(world.at) // 900 * 900): 4}, invocation="1")
    assert rows(invoke("--days", days)) == [
        ["clicks", CAMPAIGN, "1", "1", "4", "0.2500", "0.0456 to 0.6994"],
        ["clicks", "mail", "1", "1", "", "", ""],
        ["seconds", "mail", "1,234.5", "1", "", "", ""],
    ]


def test_all_pages_are_printed(world: AttributionWorld) -> None:
    world.attribute(*(metric(f"m{number}") for number in range(10)))
    for number in range(11):
        world.send(source=f"s{number}")
    world.sum_up()
    assert len(rows(invoke("--name", "m"))) == 110


def test_it_says_which_there_are(world: AttributionWorld) -> None:
    missing = invoke()
    assert (missing.exit_code, "--name is needed; metric attributions: none" in missing.output) == (2, True)
    world.attribute(metric("clicks"))
    unknown = invoke("--name", "x")
    assert (unknown.exit_code, "no metric attribution x; there are: m" in unknown.output) == (2, True)
