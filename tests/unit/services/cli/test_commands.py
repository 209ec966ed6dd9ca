"""The commands, each a client like any other, against a running system."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from click.testing import CliRunner, Result

from services.cli.client import Personalize
from services.cli.commands import status
from services.cli.errors import CreationFailed, NoServer, UnusableFolder
from services.cli.main import cli
from shared.aws import service_model
from tests.conftest import System, until

Invoke = Callable[..., Result]
COMMANDS = ("up", "demo", "status", "doctor", "backup", "import", "train", "hpo", "recommend", "attribution")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@pytest.fixture
def invoke(system: System, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    for name, value in system.environment.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: run(*arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: cli {command}" in result.output


def test_there_are_these_commands_and_no_others() -> None:
    assert set(cli.commands) == set(COMMANDS)


def test_import_train_recommend(invoke: Invoke, system: System, few_films: Path) -> None:
    """Told of the server by --data-dir, then by the environment."""
    imported = run("import", str(few_films), "--name", "few", "--data-dir", str(system.folder))
    assert "1,800 rows of s3://few/interactions.csv" in imported.output
    assert "150 rows of s3://few/items.csv" in imported.output
    assert "60 rows of s3://few/users.csv" in imported.output

    trained = invoke("train", "--name", "few")
    for word in ("NDCG@25 raw", "NDCG@25 unseen", "popularity", "personal frequency"):
        assert word in trained.output

    recommended = run("recommend", "7", "--name", "few", "--results", "3", "--data-dir", str(system.folder))
    titles = [line.split(",")[1] for line in (few_films / "items.csv").read_text().splitlines()[1:]]
    assert sum(title in recommended.output for title in titles) >= 3

    again = invoke("train", "--name", "few", "--recipe", "aws-hrnn-metadata")
    assert "aws-hrnn-metadata" in again.output
    campaigns = [c for c in system.personalize.list_campaigns()["campaigns"] if c["name"] == "few"]
    serving = system.personalize.describe_campaign(campaignArn=campaigns[0]["campaignArn"])["campaign"]
    assert "solution/few-hrnn-metadata/" in serving["solutionVersionArn"]

    shown = invoke("status").output
    for kind in ("dataset group", "dataset import job", "solution version", "campaign", "schema"):
        assert kind in shown
    assert "ACTIVE" in shown


def test_an_import_again_replaces_the_data(invoke: Invoke, system: System, few_films: Path) -> None:
    names = {"--name": "twice", "--data-dir": str(system.folder)}
    options = [word for pair in names.items() for word in pair]
    run("import", str(few_films), *options)
    until(lambda: "twice" in invoke("status").output)
    (few_films / "interactions.csv").write_text("USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE\nu,i,1,watch\n")
    with pytest.raises(CreationFailed, match="1000"):
        run("import", str(few_films), *options)


def test_what_people_bring_is_imported_from_any_folder_and_what_is_not_taken_is_said(
    invoke: Invoke, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line ends of two kinds, names that no schema has, too many columns, an empty one, and a gap in EVENT_TYPE."""
    monkeypatch.chdir(tmp_path)  # where there is no foretaste-data
    (tmp_path / "mine").mkdir()
    header = "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,device type,A1,A2,A3,A4,A5,A6,EMPTY\n"
    rows = [f"u{n % 60},i{n % 90},{n},{'' if n == 700 else 'click'},tv,a,b,c,d,e,f,\r\n" for n in range(1500)]
    (tmp_path / "mine" / "interactions.csv").write_bytes((header + "".join(rows)).encode())
    said = invoke("import", "mine", "--name", "odd").output
    assert "the column device type is not imported: a name has letters (A to Z)" in said
    assert "the column A6 is not imported: Interactions may have 5 columns that AWS does not know, and has 6" in said
    assert "the column EMPTY is not imported: it has no values" in said
    taken = "empty or unreadable cells are null: EVENT_TYPE 1"
    assert f"1,500 rows of s3://odd/interactions.csv; {taken}" in said
    assert "interactions.csv line 702, column EVENT_TYPE: the cell is empty" in said
    assert taken in " ".join(invoke("status").output.split())

    (tmp_path / "mine" / "interactions.csv").write_bytes((header.replace("A6", "NEW") + "".join(rows)).encode())
    again = invoke("import", "mine", "--name", "odd").output
    assert "the column NEW is not imported: the dataset was made without it" in again
    assert f"1,500 rows of s3://odd/interactions.csv; {taken}" in again


def test_nothing_is_made_before_every_file_is_understood(
    invoke: Invoke, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    interactions, users = tmp_path / "interactions.csv", tmp_path / "users.csv"
    interactions.write_text("USER_ID,ITEM_ID,TIMESTAMP\nu,i,1\n")
    users.write_text("USER_ID,AGE\nu,7\n,8\n")
    with pytest.raises(UnusableFolder, match=r"users\.csv line 3, column USER_ID: the cell is empty"):
        invoke("import", ".", "--name", "unborn")
    users.unlink()
    monkeypatch.delenv("FORETASTE_SERVER_DIR")  # as of a server on another machine
    result = invoke("import", ".", "--name", "unborn")
    assert (result.exit_code, "Name the bucket that holds the files with --bucket" in result.output) == (2, True)
    groups = system.personalize.list_dataset_groups()["datasetGroups"]
    assert "unborn" not in [group["name"] for group in groups]


def test_doctor_finds_a_running_server_well(invoke: Invoke, system: System) -> None:
    result = invoke("doctor", "--data-dir", str(system.folder))
    assert result.exit_code == 0
    url = system.environment["AWS_ENDPOINT_URL_PERSONALIZE"]
    assert f"{url} answers 200" in result.output
    assert re.search(r"ok   clock +[+-]\d s beside the server's", result.output)


def test_doctor_says_what_to_do_about_what_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_REDIS_URL", "redis://127.0.0.1:1/0")
    (tmp_path / "client.env").write_text("export AWS_ENDPOINT_URL_PERSONALIZE=http://127.0.0.1:1\n")
    (tmp_path / "client.env").chmod(0o644)
    result = run("doctor", "--data-dir", str(tmp_path))
    assert result.exit_code == 1
    assert f"chmod 600 {tmp_path}/client.env" in result.output
    assert "no answer at FORETASTE_REDIS_URL" in result.output
    assert "start it: foretaste up" in result.output


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("appendonly", "no", "what came since its last snapshot is lost"),
        ("maxmemory-policy", "allkeys-lru", "drops what it has acknowledged"),
        ("appendfsync", "everysec", "loses up to two seconds"),
        ("appendfsync", "always", None),
    ],
)
def test_doctor_says_what_a_redis_of_ones_own_would_lose(
    tmp_path: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, known: str | None
) -> None:
    monkeypatch.setenv("FORETASTE_REDIS_URL", redis_server)
    with redis.Redis.from_url(redis_server, decode_responses=True) as client:
        kept = {"appendonly": "yes", "maxmemory-policy": "noeviction", "appendfsync": "no"}
        before = client.config_get(*kept)
        try:
            for setting in {**kept, name: value}.items():
                client.config_set(*setting)
            said = " ".join(run("doctor", "--data-dir", str(tmp_path)).output.split())
        finally:
            for setting in before.items():
                client.config_set(*setting)
    assert ("ok Redis answers at FORETASTE_REDIS_URL" in said) == (known is None)
    assert known is None or (f"with {name} {value}" in said and known in said)


def test_a_client_without_a_server_is_told_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(NoServer, match="foretaste up --data-dir DIR"):
        run("status", "--data-dir", str(tmp_path))


def test_a_folder_without_interactions_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    with pytest.raises(UnusableFolder, match=r"no interactions\.csv"):
        invoke("import", str(tmp_path), "--name", "none")


def test_a_campaign_that_does_not_exist_is_said_with_those_that_do(invoke: Invoke) -> None:
    result = invoke("recommend", "7", "--name", "nobody")
    assert result.exit_code == 2
    assert "no campaign nobody; campaigns:" in result.output


def test_status_shows_every_type_of_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that have a List operation; recipes are none of the operator's."""
    asked = []

    def listed(_: Any, operation: str, **request: str) -> list[dict[str, str]]:
        asked.append(operation)
        arns = {"solutionVersionArn": "version"} if "batch" in operation or "versions" in operation else {}
        named = {
            f"{word}Arn": word
            for word in (
                *("datasetGroup", "dataset", "datasetImportJob", "solution", "recommender", "campaign"),
                *("batchInferenceJob", "batchSegmentJob"),
            )
            if operation == f"list_{re.sub('(?=[A-Z])', '_', word).lower()}s"
        }
        return [{"xArn": "arn/x", "name": operation, "status": "ACTIVE", **arns, **named}]

    monkeypatch.setattr("services.cli.resource_life.iter_summaries", listed)
    monkeypatch.setattr("services.cli.resource_life.read_remarks", lambda *_: {})
    shown = {row.name for row in status.list_rows(cast(Personalize, None), {})}
    lists = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        for name in service_model.load_operations("personalize")
        if name.startswith("List")
    }
    not_resources = {"list_recipes", "list_tags_for_resource", "list_metric_attribution_metrics"}
    assert shown == set(asked) == lists - not_resources


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_who_leaves_a_training_is_told_what_goes_on(number: signal.Signals, system: System, few_films: Path) -> None:
    name = f"left-{number.name.lower()}"
    run("import", str(few_films), "--name", name, "--data-dir", str(system.folder))
    command = [str(Path(sys.executable).with_name("foretaste")), "train", "--name", name]
    with subprocess.Popen(
        [*command, "--data-dir", str(system.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:

        def version() -> str | None:
            found = system.personalize.list_solution_versions()["solutionVersions"]
            return next((one["solutionVersionArn"] for one in found if f"/{name}/" in one["solutionVersionArn"]), None)

        def under_way() -> bool:
            found = system.personalize.describe_solution_version(solutionVersionArn=arn)["solutionVersion"]
            return bool(found["status"] == "CREATE IN_PROGRESS")

        arn = until(version)
        # By then the command has its answer, and waits.
        until(under_way)
        training.send_signal(number)
        _, said = training.communicate(timeout=10)
    assert training.returncode == 130
    assert said == (
        f"foretaste: stopped waiting. The server goes on with {arn}: `foretaste status --watch` shows how far it is. "
        "The campaign is not changed.\n"
    )
    version_now = system.personalize.describe_solution_version(solutionVersionArn=arn)["solutionVersion"]
    assert version_now["status"] in ("CREATE PENDING", "CREATE IN_PROGRESS", "ACTIVE")
    system.personalize.stop_solution_version_creation(solutionVersionArn=arn)
