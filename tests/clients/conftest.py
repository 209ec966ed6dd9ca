"""What clients that are not boto3 use: the environment that `foretaste up` writes for them, and a recommender."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import System
from tests.operations.conftest import Maker

POPULARITY = "arn:aws:personalize:::recipe/aws-popularity-count"


@dataclass(frozen=True)
class Recommender:
    campaign: str
    tracking_id: str


@pytest.fixture(scope="session")
def recommender(system: System) -> Recommender:
    make = Maker(system.personalize, system.folder)
    group = make.group()
    assert make.imported(make.dataset(group), make.csv())["status"] == "ACTIVE"
    campaign = make.deployed(make.solution(group, POPULARITY, performAutoTraining=False))
    return Recommender(campaign, make.tracker(group)[1])


@pytest.fixture(scope="session")
def environment(system: System, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Of a user who has sourced client.env, and has no other AWS settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    home = str(tmp_path_factory.mktemp("home"))
    return {**own, **system.environment, "HOME": home, "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true"}


#: The guide's page on HPO, with the range of bptt of its first edition.
HPO: Mapping[str, Any] = {
    "performHPO": True,
    "solutionConfig": {
        "algorithmHyperParameters": {"hidden_dimension": "55"},
        "hpoConfig": {
            "algorithmHyperParameterRanges": {
                "categoricalHyperParameterRanges": [{"name": "recency_mask", "values": ["true", "false"]}],
                "integerHyperParameterRanges": [{"name": "bptt", "minValue": 20, "maxValue": 40}],
                "continuousHyperParameterRanges": [],
            },
            "hpoResourceConfig": {"maxNumberOfTrainingJobs": "4", "maxParallelTrainingJobs": "2"},
        },
    },
}


def unpacked(folder: Path, files: Path) -> Path:
    """The folder, with a copy of these files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder
