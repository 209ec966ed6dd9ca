"""The AWS SDK for JavaScript, unmodified, from its own package registry.

It needs node and npm: in CI they must be there, elsewhere the test says what is missing and is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Recommender, unpacked
from tests.operations.conftest import INTERACTIONS

FILES = Path(__file__).parent / "javascript"
INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


@pytest.fixture(scope="session")
def sdk(pytestconfig: pytest.Config) -> Path:
    """A folder with the script and the SDK, kept from run to run."""
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        absent(f"{' and '.join(missing)} not found: install Node.js 20 or newer to test its SDK")
    cache = pytestconfig.cache
    assert cache is not None
    folder = cache.mkdir("clients") / "javascript"
    lock = folder / "package-lock.json"
    fresh = lock.exists() and lock.read_bytes() == (FILES / lock.name).read_bytes()
    unpacked(folder, FILES)
    # npm writes this file last: an installation that was broken off is done again.
    if not (fresh and (folder / "node_modules" / ".package-lock.json").exists()):
        installed = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=300)
        if installed.returncode != 0:
            absent(f"the SDK could not be installed: {installed.stderr[-500:]}")
    return folder


def absent(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def seen(sdk: Path, environment: Mapping[str, str], recommender: Recommender) -> dict[str, Any]:
    known = {
        "campaignArn": recommender.campaign,
        "trackingId": recommender.tracking_id,
        "schema": json.dumps(INTERACTIONS),
    }
    ran = subprocess.run(
        ["node", "life.mjs", json.dumps(known)],
        cwd=sdk,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_what_it_makes_is_described_and_listed(seen: dict[str, Any]) -> None:
    assert (seen["group"]["status"], seen["isDate"]) == ("ACTIVE", True)
    assert seen["listed"].count(seen["datasetGroupArn"]) == 1
    assert len(set(seen["listed"])) == len(seen["listed"]) > 1
    assert json.loads(seen["schema"]) == INTERACTIONS


def test_the_guides_hpo_example_is_taken(seen: dict[str, Any]) -> None:
    ranges = seen["solution"]["solutionConfig"]["hpoConfig"]["algorithmHyperParameterRanges"]
    assert seen["solution"]["performHPO"] is True
    assert ranges["integerHyperParameterRanges"] == [{"name": "training.bptt", "minValue": 20, "maxValue": 40}]


def test_it_sends_events_and_is_recommended_items(seen: dict[str, Any]) -> None:
    assert seen["put"] == 200
    assert [set(item) for item in seen["items"]] == [{"itemId"}] * 3


def test_it_knows_refusals_by_their_class(seen: dict[str, Any]) -> None:
    assert [refusal[:2] for refusal in seen["refusals"]] == [
        ["ResourceInUseException", True],
        ["ResourceAlreadyExistsException", True],
        ["ResourceNotFoundException", True],
    ]
    assert all(message for _, _, message in seen["refusals"])


def test_what_it_deletes_is_gone(seen: dict[str, Any]) -> None:
    assert seen["gone"] == "ResourceNotFoundException"
