"""The folder of a local system: one user at a time, keys that stay."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.cli.errors import CannotStart, InUse
from services.cli.local import data_dir as module
from services.cli.local.data_dir import DataDir, read_client_env


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_works(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "new")
    with folder.lock():
        keys = folder.load_or_create_keys()
        folder.write_client_env(keys=keys, region="eu-west-1", url="http://127.0.0.1:1")
    variables = read_client_env(folder.client_env)
    assert variables == {
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_PERSONALIZE": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_PERSONALIZE_RUNTIME": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_PERSONALIZE_EVENTS": "http://127.0.0.1:1",
        "FORETASTE_SERVER_DIR": str(tmp_path / "new"),
    }
    assert all(line.startswith("export ") for line in folder.client_env.read_text().splitlines())


def test_secrets_are_readable_by_the_owner_alone(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "new")
    with folder.lock():
        folder.write_client_env(keys=folder.load_or_create_keys(), region="us-east-1", url="http://127.0.0.1:1")
        folder.load_or_create_redis_password()
    assert mode(folder.path) == 0o700
    assert mode(folder.client_env) == 0o600
    assert mode(folder.redis / "password") == 0o600


@pytest.mark.parametrize(
    "holds",
    [(), ("catalogue",), ("s3", "compose.env"), ("lock", "redis", "artifacts", "client.env", "what comes later")],
)
def test_a_folder_of_its_own_that_others_may_look_into_is_closed(tmp_path: Path, holds: tuple[str, ...]) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    folder.chmod(0o755)
    for name in holds:
        (folder / name).mkdir() if name in ("s3", "redis", "artifacts", "logs") else (folder / name).touch()
    with DataDir(folder).lock():
        assert mode(folder) == 0o700


def test_a_folder_of_others_is_not_closed_but_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(CannotStart, match=r"mode 755\) and holds what is not foretaste's \(thesis.tex\)"):
        DataDir(tmp_path).lock().__enter__()
    assert mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    tmp_path.chmod(0o700)
    with DataDir(tmp_path).lock():
        pass


def test_a_folder_that_can_not_be_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o750)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(CannotStart, match=r"\(mode 750\), and can't be closed \(Operation not permitted\)"):
        DataDir(tmp_path).lock().__enter__()


@pytest.mark.parametrize("inside", ["file", "file/below"])
def test_a_folder_that_can_not_be_made_is_refused_with_a_sentence(tmp_path: Path, inside: str) -> None:
    """As below a file, in a folder of another user, or on a disk that is read-only."""
    (tmp_path / "file").touch()
    folder = DataDir(tmp_path / inside)
    with pytest.raises(CannotStart, match=r"can't be used .*: choose another --data-dir"), folder.lock():
        pass


def test_a_lock_that_can_not_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "new" / "lock").mkdir(parents=True)
    (tmp_path / "new").chmod(0o700)
    with pytest.raises(CannotStart, match="can't be used"), DataDir(tmp_path / "new").lock():
        pass


def test_keys_and_passwords_are_made_once(tmp_path: Path) -> None:
    with DataDir(tmp_path).lock():
        keys, password = DataDir(tmp_path).load_or_create_keys(), DataDir(tmp_path).load_or_create_redis_password()
        DataDir(tmp_path).write_client_env(keys=keys, region="us-east-1", url="http://127.0.0.1:1")
    with DataDir(tmp_path).lock():
        assert DataDir(tmp_path).load_or_create_keys() == keys
        assert DataDir(tmp_path).load_or_create_redis_password() == password


def test_two_folders_have_different_keys(tmp_path: Path) -> None:
    assert DataDir(tmp_path / "a").load_or_create_keys() != DataDir(tmp_path / "b").load_or_create_keys()


def test_an_access_key_id_has_the_form_of_aws(tmp_path: Path) -> None:
    access_key_id, secret = DataDir(tmp_path).load_or_create_keys()
    assert len(access_key_id) == 20
    assert access_key_id.isalnum()
    assert len(secret) == 40


def test_a_second_user_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    with (
        DataDir(tmp_path).lock(),
        pytest.raises(InUse, match=rf"foretaste runs on {tmp_path} already \(process \d+\)"),
        DataDir(tmp_path).lock(),
    ):
        pytest.fail("two users at once")


def test_values_with_blanks_and_quotes_survive(tmp_path: Path) -> None:
    keys = ("id", "a 'secret' $HOME \"x\"")
    DataDir(tmp_path).write_client_env(keys=keys, region="us-east-1", url="http://127.0.0.1:1")
    assert DataDir(tmp_path).load_or_create_keys() == keys
