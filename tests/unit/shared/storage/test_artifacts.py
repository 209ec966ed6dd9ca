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
