"""Artifacts: whole or not at all, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.storage.artifacts import MANIFEST, ArtifactDamaged, Artifacts

ARN = "arn:aws:personalize:us-east-1:000000000000:solution/../x/1"


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path)
    with artifacts.fill_artifact(ARN, 1) as folder:
        (folder / "model").write_bytes(b"weights")
        (folder / "more").mkdir()
        (folder / "more" / "ids").write_bytes(b"ids")
    return artifacts


def test_what_was_filled_is_opened(artifacts: Artifacts, tmp_path: Path) -> None:
    folder = artifacts.open_artifact(ARN)
    assert (folder / "model").read_bytes() == b"weights"
    assert (folder / "more" / "ids").read_bytes() == b"ids"
    assert folder.resolve().is_relative_to(tmp_path / "kept")


def test_a_failed_filling_leaves_what_stood_and_no_draft(artifacts: Artifacts, tmp_path: Path) -> None:
    def fill() -> None:
        with artifacts.fill_artifact(ARN, 2) as folder:
            (folder / "model").write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert (artifacts.open_artifact(ARN) / "model").read_bytes() == b"weights"
    assert list((tmp_path / "drafts").iterdir()) == []


def test_what_a_killed_attempt_left_is_swept_up(artifacts: Artifacts, tmp_path: Path) -> None:
    killed = artifacts.fill_artifact(ARN, 2)
    (killed.__enter__() / "model").write_bytes(b"half")
    assert len(list((tmp_path / "drafts").iterdir())) == 1
    with artifacts.fill_artifact(ARN, 3) as folder:
        (folder / "model").write_bytes(b"whole")
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_later_filling_replaces_an_earlier_one(artifacts: Artifacts) -> None:
    with artifacts.fill_artifact(ARN, 2) as folder:
        (folder / "model").write_bytes(b"better")
    assert (artifacts.open_artifact(ARN) / "model").read_bytes() == b"better"
    assert not (artifacts.get_folder(ARN) / "more").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "model").write_bytes(b"wei"), "model .* cut short"),
        (lambda folder: (folder / "model").write_bytes(b"WEIGHTS"), "model .* differs"),
        (lambda folder: (folder / "more" / "ids").unlink(), "more/ids .* missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"{"), "manifest"),
    ],
)
def test_damage_is_found_and_named(artifacts: Artifacts, damage: object, says: str) -> None:
    assert callable(damage)
    damage(artifacts.get_folder(ARN))
    with pytest.raises(ArtifactDamaged, match=says):
        artifacts.open_artifact(ARN)


def test_discarding_removes_everything_and_may_be_repeated(artifacts: Artifacts) -> None:
    workspace = artifacts.create_workspace(ARN)
    (workspace / "checkpoint").write_bytes(b"x")
    artifacts.discard_artifact(ARN)
    artifacts.discard_artifact(ARN)
    assert not workspace.exists()
    with pytest.raises(ArtifactDamaged, match="missing"):
        artifacts.open_artifact(ARN)


def fill_replacement(artifacts: Artifacts) -> None:
    with artifacts.fill_replacement(ARN) as folder:
        (folder / "model").write_bytes(b"other weights")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_replacement_takes_the_place_of_the_artifact_in_one_step(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr("shared.storage.artifacts.exchange_paths", lambda *_: False)
    before = artifacts.compute_digest(ARN)
    fill_replacement(artifacts)
    assert artifacts.compute_digest(ARN) == before
    wanted = artifacts.compute_digest(ARN, of_replacement=True)
    artifacts.swap_replacement(ARN)
    assert artifacts.compute_digest(ARN) == wanted != before
    folder = artifacts.open_artifact(ARN)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "model"]
    assert (folder / "model").read_bytes() == b"other weights"
    assert list((tmp_path / "drafts").iterdir()) == []


def test_an_artifact_that_was_moved_away_by_a_swap_that_died_is_moved_back(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.artifacts.exchange_paths", lambda *_: False)
    fill_replacement(artifacts)
    folder = artifacts.get_folder(ARN)
    folder.rename(next((tmp_path / "drafts").iterdir()).with_name(f"{folder.name}.replacement.away"))
    with pytest.raises(ArtifactDamaged):
        artifacts.open_artifact(ARN)
    with artifacts.fill_replacement(ARN):
        assert (artifacts.open_artifact(ARN) / "model").read_bytes() == b"weights"


def test_a_replacement_that_is_swapped_in_while_the_files_are_checked_is_no_damage(tmp_path: Path) -> None:
    swapping: list[Artifacts] = []

    def swap() -> None:
        while swapping:
            swapping.pop().swap_replacement(ARN)

    reader, writer = Artifacts(tmp_path, on_block=swap), Artifacts(tmp_path)
    with writer.fill_artifact(ARN, 1) as folder:
        (folder / "first").write_bytes(b"1")
        (folder / "second").write_bytes(b"2")
    with writer.fill_replacement(ARN) as folder:
        (folder / "first").write_bytes(b"one")
        (folder / "second").write_bytes(b"two")
    swapping.append(writer)
    assert (reader.open_artifact(ARN) / "second").read_bytes() == b"two"
    assert not swapping
