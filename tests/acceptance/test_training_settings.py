"""What the operator of a training worker decides, in the environment of the processes: it acts, and is served."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from tests.conftest import start_system, stop_system
from tests.operations.conftest import SMALL, Maker, recommended


def test_the_cell_the_log_and_retraining_are_chosen_by_settings(tmp_path: Path) -> None:
    system = start_system(
        tmp_path,
        FORETASTE_TRAINING_CELL="gru",
        FORETASTE_TRAINING_LOGGER="csv",
        FORETASTE_TRAINING_PRECISION="32-true",
        FORETASTE_RETRAIN_ON_ALL_USERS="false",
    )
    try:
        make = Maker(system.personalize, system.folder)
        group = make.group()
        make.imported(make.dataset(group), make.csv())
        campaign = make.deployed(make.solution(group, solutionConfig=SMALL))
        assert len(recommended(system, campaign, "u1", 20)) == 20
        version = system.personalize.describe_campaign(campaignArn=campaign)["campaign"]["solutionVersionArn"]
        folder = tmp_path / "artifacts" / "kept" / quote(version, safe="")
        assert json.loads((folder / "model.json").read_text())["form"]["cell"] == "gru"
        [log] = (folder / "logs").rglob("*.csv")
        header, *epochs = log.read_text().splitlines()
        assert "loss" in header
        assert len(epochs) > 1
    finally:
        stop_system(system)
