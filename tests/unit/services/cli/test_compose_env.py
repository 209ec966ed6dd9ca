"""`make compose-env` and `make compose-pins`: what they write for compose.yaml, and what they leave as it is."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from services.cli.local.data_dir import read_client_env
from tests.conftest import ROOT

SECRETS = ("access_key_id", "redis_password", "redis_url", "secret_access_key")


def sh(script: str, folder: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{path}{os.environ['PATH']}"}
    command = ["sh", str(ROOT / "deploy" / script)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def written(folder: Path) -> dict[str, str]:
    return {name: (folder / "foretaste-data/secrets" / name).read_text().strip() for name in SECRETS}


def variables(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_secrets_are_made_once_a_file_each_for_their_owner_alone(tmp_path: Path) -> None:
    assert sh("compose-env.sh", tmp_path).returncode == 0
    secrets = written(tmp_path)
    assert secrets["redis_url"] == f"redis://:{secrets['redis_password']}@redis:6379/0"
    told = variables(tmp_path)
    assert told["FORETASTE_SECRETS_FOLDER"] == "./foretaste-data/secrets"
    assert "0" not in (told["FORETASTE_UID"], told["FORETASTE_GID"])
    for name in SECRETS:
        found = (tmp_path / "foretaste-data/secrets" / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o400
        assert found.st_uid == int(told["FORETASTE_UID"])
    assert stat.S_IMODE((tmp_path / "foretaste-data").stat().st_mode) == 0o700
    assert not set(secrets.values()) & set(told.values())
    client = read_client_env(tmp_path / "foretaste-data/compose.env")
    assert client["AWS_SECRET_ACCESS_KEY"] == secrets["secret_access_key"]

    before = (tmp_path / ".env").read_bytes()
    assert sh("compose-env.sh", tmp_path).returncode == 0
    assert (written(tmp_path), (tmp_path / ".env").read_bytes()) == (secrets, before)


def test_the_secrets_of_an_earlier_release_go_from_env_into_files(tmp_path: Path) -> None:
    lines = {"ACCESS_KEY_ID": "FTOLD", "SECRET_ACCESS_KEY": "old", "REDIS_PASSWORD": "pass", "UID": "7", "PORT": "81"}
    (tmp_path / ".env").write_text("".join(f"FORETASTE_{name}={value}\n" for name, value in lines.items()))
    if os.getuid():
        (tmp_path / ".env").write_text((tmp_path / ".env").read_text().replace("UID=7", f"UID={os.getuid()}"))
    assert sh("compose-env.sh", tmp_path).returncode == 0
    assert written(tmp_path) == {
        "access_key_id": "FTOLD",
        "secret_access_key": "old",
        "redis_password": "pass",
        "redis_url": "redis://:pass@redis:6379/0",
    }
    assert set(variables(tmp_path)) == {"FORETASTE_UID", "FORETASTE_PORT", "FORETASTE_SECRETS_FOLDER"}


@pytest.mark.parametrize(("answer", "pinned"), [("sha256:" + "ab" * 32, True), ("not found", False)])
def test_images_are_pinned_by_what_their_registry_answers(tmp_path: Path, answer: str, pinned: bool) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\necho '{answer}'\n")
    docker.chmod(0o755)
    (tmp_path / ".env").write_text("FORETASTE_PORT=81\nFORETASTE_VALKEY_IMAGE=old\n")
    done = sh("compose-pins.sh", tmp_path, path=f"{docker.parent}:")
    assert (done.returncode == 0) == pinned
    assert variables(tmp_path) == (
        {
            "FORETASTE_PORT": "81",
            "FORETASTE_VALKEY_IMAGE": f"valkey/valkey:8-alpine@{answer}",
            "FORETASTE_PYTHON_IMAGE": f"python:3.11-slim-bookworm@{answer}",
        }
        if pinned
        else {"FORETASTE_PORT": "81", "FORETASTE_VALKEY_IMAGE": "old"}
    )
