"""``foretaste backup`` of a system that is written to, and of one that is stopped: the copy is one as well."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.cli.commands import backup
from services.cli.commands.backup import copy_data_dir
from services.cli.errors import CannotBackUp
from services.cli.local.data_dir import DataDir
from shared.data.live_events import iter_live_events
from shared.data.live_files import LiveFileWriter
from shared.storage.artifacts import Artifacts
from shared.store import Interaction
from shared.store.redis import RedisStore
from tests.conftest import System, processes, start_system, stop_system, until
from tests.operations.conftest import Maker
from tests.unit.services.cli.test_embedded_redis import connect, running

FORETASTE = str(Path(sys.executable).with_name("foretaste"))


def test_a_copy_of_a_system_that_runs_has_all_it_had_acknowledged(system: System, tmp_path: Path) -> None:
    make = Maker(system.personalize, system.folder)
    group = make.group()
    job = make.imported(make.dataset(group), make.csv())
    made, over = [make.group()], threading.Event()

    def go_on() -> None:
        while not over.is_set():
            made.append(make.client.create_dataset_group(name=make.name())["datasetGroupArn"])

    writing = threading.Thread(target=go_on)
    writing.start()
    try:
        until(lambda: len(made) > 5, 30, "writes")
        before = list(made)
        target = tmp_path / "copy"
        command = [FORETASTE, "backup", "--data-dir", str(system.folder), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        over.set()
        writing.join()
    assert done.returncode == 0, done.stderr
    assert f"foretaste up --data-dir {target}" in done.stdout
    copy = start_system(target)
    try:
        there = Maker(copy.personalize, copy.folder)
        pages = copy.personalize.get_paginator("list_dataset_groups").paginate()
        listed = {each["datasetGroupArn"] for page in pages for each in page["datasetGroups"]}
        assert {group, *before} <= listed
        found = there.client.describe_dataset_import_job(datasetImportJobArn=job["datasetImportJobArn"])
        assert found["datasetImportJob"]["status"] == "ACTIVE"
        # What it imported is there as well: another import goes on from it.
        arn = there.client.list_datasets(datasetGroupArn=group)["datasets"][0]["datasetArn"]
        again = there.imported(arn, there.csv())
        assert again["status"] == "ACTIVE", again
        assert processes(system), "the first goes on beside it"
    finally:
        stop_system(copy)


def test_a_copy_of_a_system_that_is_stopped_is_one_too(tmp_path: Path) -> None:
    source = tmp_path / "data"
    with running(source) as (_, url), connect(url) as client:
        client.set("a", "1")
    for folder in ("artifacts/kept/model", "artifacts/work/half", "s3/films/2024"):
        (source / folder).mkdir(parents=True)
        (source / folder / "file").write_text(folder)
    DataDir(source).write_client_env(keys=("K", "S"), region="us-east-1", url="http://127.0.0.1:1")
    target = tmp_path / "copy"
    assert copy_data_dir(DataDir(source), target) > 0
    with running(target) as (_, url), connect(url) as client:
        assert client.get("a") == "1"
    assert (target / "s3" / "films" / "2024" / "file").read_text() == "s3/films/2024"
    assert (target / "artifacts" / "kept" / "model" / "file").exists()
    assert not (target / "artifacts" / "work").exists(), "what is half done is begun anew"
    assert DataDir(target).load_or_create_keys() == DataDir(source).load_or_create_keys()
    assert DataDir(target).load_or_create_redis_password() == DataDir(source).load_or_create_redis_password()
    for path in (target, target / "client.env", target / "redis" / "password"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_copy_is_begun_anew_when_redis_rewrites_its_files_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "data"
    with running(source) as (_, url), connect(url) as client:
        client.set("a", "1")
        copies: list[Path] = []

        def copied(path: Path, target: Path) -> int:
            if not copies:
                client.bgrewriteaof()
                until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
                client.set("b", "2")
            copies.append(path)
            return int(copy(path, target))

        copy = backup._copy_file
        monkeypatch.setattr(backup, "_copy_file", copied)
        copy_data_dir(DataDir(source), tmp_path / "copy")
    with running(tmp_path / "copy") as (_, url), connect(url) as client:
        assert client.get("a") == "1"
        assert client.get("b") == "2"


def test_a_copy_has_each_live_event_once_while_events_move_to_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of the first files is copied, more events come, move to files, and the files are merged."""
    source, dataset = DataDir(tmp_path / "data"), "arn:aws:personalize:us-east-1:000000000000:dataset/g/INTERACTIONS"
    sent: list[Interaction] = []
    with running(source.path) as (_, url):
        store, artifacts = RedisStore(url), Artifacts(source.path / "artifacts")

        def go_on() -> None:
            number = len(sent)
            event = Interaction(
                user_id="u", session_id="s", item_id=f"{number}", event_type="e", event_value=None, sent_at=1.0
            )
            store.append_interactions(dataset, [event], invocation=f"{number}")
            sent.append(event)
            with LiveFileWriter(store, artifacts, dataset, memory_mb=256, on_step=lambda: None) as writer:
                writer.remove_garbage()
                writer.compact_stream()
                writer.sweep_moved_generations()
                writer.merge_small_files()

        def copied(path: Path, target: Path) -> int:
            if len(sent) < acknowledged + 6:
                go_on()
            return int(copy(path, target))

        for _ in range(2):
            go_on()
        acknowledged = len(sent)
        copy = backup._copy_file
        monkeypatch.setattr(backup, "_copy_file", copied)
        target = tmp_path / "copy"
        copy_data_dir(source, target)
    with running(target) as (_, url):
        kept = list(iter_live_events(RedisStore(url), Artifacts(target / "artifacts"), dataset))
        assert kept == sent[: len(kept)]
        assert len(kept) >= acknowledged
        assert len(sent) > acknowledged


def test_nothing_is_overwritten_and_nothing_half_done_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "s3").mkdir(parents=True)
    (tmp_path / "data" / "s3" / "file").touch()
    with pytest.raises(CannotBackUp, match="exists already"):
        copy_data_dir(DataDir(tmp_path / "data"), tmp_path)

    def full(_source: Path, _target: Path) -> int:
        raise OSError(28, "No space left on device", "/copy/file")

    monkeypatch.setattr("services.cli.commands.backup._copy_file", full)
    with pytest.raises(CannotBackUp, match="/copy/file: No space left on device"):
        copy_data_dir(DataDir(tmp_path / "data"), tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
