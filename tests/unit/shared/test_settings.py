"""Settings: read by name, refused by name, and no open door by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import settings
from shared.settings import Settings, SettingsError


def test_a_variable_sets_the_field_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_DATA_DIR", "/somewhere")
    monkeypatch.setenv("FORETASTE_BUCKETS", "a=/one,b=/two")
    monkeypatch.setenv("FORETASTE_LEASE_SECONDS", "2.5")
    monkeypatch.setenv("FORETASTE_UNSIGNED", "true")
    read = settings.load()
    assert (read.data_dir, read.lease_seconds, read.unsigned) == (Path("/somewhere"), 2.5, True)
    assert read.buckets == {"a": Path("/one"), "b": Path("/two")}
    assert (read.bucket_root, read.artifacts) == (Path("/somewhere/s3"), Path("/somewhere/artifacts"))


def test_a_value_that_makes_no_sense_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_THREADS", "many")
    with pytest.raises(SettingsError, match="FORETASTE_THREADS"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "text"),
    [("GATEWAY_CALLS", "0"), ("GATEWAY_WAITING", "-1"), ("LEASE_SECONDS", "-2.5")],
)
def test_a_number_with_which_nothing_would_go_on_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"FORETASTE_{name}", text)
    with pytest.raises(SettingsError, match=rf"FORETASTE_{name}: .* is less than [01]$"):
        settings.load()


def test_one_of_several_words_is_taken_and_any_other_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORETASTE_TRAINING_CELL", "gru")
    assert settings.load().training_cell == "gru"
    monkeypatch.setenv("FORETASTE_TRAINING_CELL", "lstm")
    with pytest.raises(SettingsError, match="FORETASTE_TRAINING_CELL: 'lstm' is none of linear, gru"):
        settings.load()


@pytest.mark.parametrize(("text", "most"), [("", None), ("7", 7), (None, 5)])
def test_a_quota_may_be_lifted(monkeypatch: pytest.MonkeyPatch, text: str | None, most: int | None) -> None:
    if text is not None:
        monkeypatch.setenv("FORETASTE_QUOTA_PENDING_DATASET_IMPORT_JOBS", text)
    read = settings.load()
    assert (read.quota_pending_dataset_import_jobs, read.quota_schemas) == (most, None)


def test_a_secret_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("FORETASTE_SECRET_ACCESS_KEY_FILE", str(tmp_path / "secret"))
    assert settings.load().secret_access_key == "s3cret"


def test_a_file_that_holds_no_secret_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FORETASTE_SECRET_ACCESS_KEY_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match=r"FORETASTE_SECRET_ACCESS_KEY_FILE: .*secret can't be read: No such file"):
        settings.load()
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(SettingsError, match=r"FORETASTE_SECRET_ACCESS_KEY_FILE: .*secret is empty"):
        settings.load()


def test_paths_hold_in_another_folder_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    told = {
        "FORETASTE_ARTIFACTS_DIR": "models",
        "FORETASTE_SECRET_ACCESS_KEY_FILE": "../secret",
        "FORETASTE_S3_FOLDER": "/absolute",
        "FORETASTE_REGION": "a/b",
        "AWS_CA_BUNDLE": "ca.pem",
        "PYTHONPATH": ":one::/two",
    }
    assert settings.make_paths_absolute(told) == {
        **told,
        "FORETASTE_ARTIFACTS_DIR": f"{tmp_path}/models",
        "FORETASTE_SECRET_ACCESS_KEY_FILE": f"{tmp_path}/../secret",
        "AWS_CA_BUNDLE": f"{tmp_path}/ca.pem",
        "PYTHONPATH": f"{tmp_path}/one:/two",
    }


def test_without_keys_nothing_is_served_unless_unsigned_was_asked_for() -> None:
    with pytest.raises(SettingsError, match="FORETASTE_ACCESS_KEY_ID"):
        _ = Settings().keys
    assert Settings(unsigned=True).keys is None
    assert Settings(access_key_id="a", secret_access_key="b").keys == {"a": "b"}


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "10.0.0.1:8000", "[::]:8000", "example.org:80", ":8000"])
def test_unsigned_requests_are_not_served_to_other_machines(bind: str) -> None:
    with pytest.raises(SettingsError, match="FORETASTE_BIND"):
        _ = Settings(unsigned=True, bind=bind).keys


@pytest.mark.parametrize("bind", ["127.0.0.1:8000", "localhost:8000", "[::1]:80", "fd://3", "unix:/run/x"])
def test_on_this_machine_they_may_be(bind: str) -> None:
    assert Settings(unsigned=True, bind=bind).keys is None
