"""The AWS CLI, unmodified: a life from its command line, with its own skeleton as the start of a request."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HPO, Recommender
from tests.conftest import until
from tests.operations.conftest import INTERACTIONS

AWS = str(Path(sys.executable).with_name("aws"))


class Cli:
    """``cli("personalize", "list-schemas")`` is what the command prints."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = dict(environment), folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [AWS, *command], env=self._environment, cwd=self._folder, capture_output=True, text=True, timeout=60
        )

    def __call__(self, *command: str) -> Any:
        ran = self.run(*command)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout) if ran.stdout.strip() else None

    def refused(self, *command: str) -> str:
        """What a command that must fail says."""
        ran = self.run(*command)
        assert ran.returncode in (254, 255), ran.stdout
        return ran.stderr

    def file(self, name: str, value: Any) -> str:
        """The name by which the CLI reads this value from a file."""
        (self._folder / name).write_text(json.dumps(value))
        return f"file://{name}"


@pytest.fixture(scope="module")
def cli(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(environment, tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def group(cli: Cli) -> Iterator[str]:
    name = f"cli-{time.time_ns()}"
    arn = cli("personalize", "create-dataset-group", "--name", name)["datasetGroupArn"]
    assert arn.endswith(f":dataset-group/{name}")
    describe = ("personalize", "describe-dataset-group", "--dataset-group-arn", arn)
    until(lambda: cli(*describe)["datasetGroup"]["status"] == "ACTIVE", 30, arn)
    yield arn
    assert cli("personalize", "delete-dataset-group", "--dataset-group-arn", arn) is None
    until(lambda: cli.run(*describe).returncode != 0, 30, "its end")
    assert "(ResourceNotFoundException)" in cli.refused(*describe)


def test_a_dataset_lives_from_create_to_delete(cli: Cli, group: str) -> None:
    text = cli.file("schema.json", INTERACTIONS)
    schema = cli("personalize", "create-schema", "--name", f"cli-{time.time_ns()}", "--schema", text)["schemaArn"]
    made = cli(
        *("personalize", "create-dataset", "--name", "cli", "--dataset-group-arn", group),
        *("--schema-arn", schema, "--dataset-type", "Interactions"),
    )
    assert made["datasetArn"].endswith("/INTERACTIONS")
    describe = ("personalize", "describe-dataset", "--dataset-arn", made["datasetArn"])
    until(lambda: cli(*describe)["dataset"]["status"] == "ACTIVE", 30, "the dataset")
    listed = cli("personalize", "list-datasets", "--dataset-group-arn", group, "--max-items", "1")["datasets"]
    assert [one["datasetArn"] for one in listed] == [made["datasetArn"]]
    assert "(ResourceInUseException)" in cli.refused("personalize", "delete-schema", "--schema-arn", schema)
    cli("personalize", "delete-dataset", "--dataset-arn", made["datasetArn"])
    until(lambda: cli.run(*describe).returncode != 0, 30, "its end")
    cli("personalize", "delete-schema", "--schema-arn", schema)


def test_a_solution_begins_with_the_clis_own_skeleton(cli: Cli, group: str) -> None:
    """The guide's example of HPO, filled into what --generate-cli-skeleton prints."""
    skeleton = cli("personalize", "create-solution", "--generate-cli-skeleton")
    wanted = {
        **HPO,
        "name": f"cli-{time.time_ns()}",
        "datasetGroupArn": group,
        "recipeArn": "arn:aws:personalize:::recipe/aws-hrnn",
        "performAutoML": False,
        "performAutoTraining": False,
    }
    assert list(unknown(wanted, skeleton)) == []
    request = cli.file("solution.json", {member: wanted[member] for member in skeleton if member in wanted})
    made = cli("personalize", "create-solution", "--cli-input-json", request)
    describe = ("personalize", "describe-solution", "--solution-arn", made["solutionArn"])
    shown = cli(*describe)["solution"]
    assert (shown["name"], shown["performHPO"]) == (wanted["name"], True)
    ranges = shown["solutionConfig"]["hpoConfig"]["algorithmHyperParameterRanges"]
    assert ranges["integerHyperParameterRanges"] == [{"name": "training.bptt", "minValue": 20, "maxValue": 40}]
    cli("personalize", "delete-solution", "--solution-arn", made["solutionArn"])
    until(lambda: cli.run(*describe).returncode != 0, 30, "its end")


def unknown(value: Any, skeleton: Any, path: str = "") -> Iterator[str]:
    """Members of the value that a skeleton does not have."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            if name in skeleton:
                yield from unknown(member, skeleton[name], f"{path}.{name}")
            elif "KeyName" not in skeleton:  # a map's keys are the caller's own
                yield f"{path}.{name}"
    elif isinstance(value, list):
        for one in value:
            yield from unknown(one, skeleton[0], path)


def test_the_skeleton_as_it_is_printed_is_refused_with_what_is_missing(cli: Cli) -> None:
    skeleton = cli("personalize", "create-solution", "--generate-cli-skeleton")
    said = cli.refused("personalize", "create-solution", "--cli-input-json", cli.file("bare.json", skeleton))
    assert "name" in said


def test_events_go_in_and_recommendations_come_out(cli: Cli, recommender: Recommender) -> None:
    event = [{"eventType": "watch", "itemId": "i1", "sentAt": time.time()}]
    put = ("--tracking-id", recommender.tracking_id, "--user-id", "u-cli", "--session-id", "s")
    assert cli("personalize-events", "put-events", *put, "--event-list", cli.file("e.json", event)) is None
    ask = ("--campaign-arn", recommender.campaign, "--user-id", "u-cli", "--num-results", "3")
    answer = cli("personalize-runtime", "get-recommendations", *ask)
    assert len(answer["itemList"]) == 3
    assert answer["recommendationId"]
