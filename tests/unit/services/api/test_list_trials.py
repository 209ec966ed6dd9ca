"""ListTrials: what is kept of each trial, shaped by foretaste's own service model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.aws.errors import ResourceNotFound, Validation
from shared.state.lifecycle import ACTIVE, CREATE_FAILED, CREATE_IN_PROGRESS, CREATE_PENDING, CREATE_STOPPED
from tests.unit.services.api.memory_api import GROUP, PREFIX, MemoryApi

HRNN = "arn:aws:personalize:::recipe/aws-hrnn"
GAIN = "normalized_discounted_cumulative_gain_at_25"


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def put(api: MemoryApi, version: str, number: int, status: str, **more: Any) -> str:
    name = version.partition("/")[2]
    body = {"recipeArn": HRNN, "number": number, "parameters": {"hidden_dimension": str(32 + number)}}
    return api.put(f"{PREFIX}:trial/{name}/{number:03}", "trial", body, status, parents=(version,), **more)


def test_it_works(api: MemoryApi) -> None:
    version = api.version(status=CREATE_IN_PROGRESS)
    progress = {
        "phase": "training",
        "epoch": 2,
        "epochs": 20,
        "loss": 3.5,
        "eta_seconds": 12.0,
        "curve": [[1, 0.1, 4.5], [2, 0.12, 9.0]],
        "worker": "training@host:12",
        "seconds": 10.5,
    }
    arn = put(api, version, 0, CREATE_IN_PROGRESS, state={"progress": progress})
    assert api("ListTrials", solutionVersionArn=version)["trials"] == [
        {
            "trialArn": arn,
            "number": 0,
            "recipeArn": HRNN,
            "parameters": {"hidden_dimension": "32"},
            "status": CREATE_IN_PROGRESS,
            "pruned": False,
            "won": False,
            "worker": "training@host:12",
            "epoch": 2,
            "epochs": 20,
            "curve": [{"epoch": 1, "gain": 0.1, "seconds": 4.5}, {"epoch": 2, "gain": 0.12, "seconds": 9.0}],
            "trainingSeconds": 10.5,
            "creationDateTime": 1.0,
            "lastUpdatedDateTime": 1.0,
        }
    ]


def test_what_is_done_tells_what_it_came_to(api: MemoryApi) -> None:
    version = api.version()
    progress = {"phase": "finished", "epoch": 7, "epochs": 7, "curve": [[6, 0.11, 28.0]], "seconds": 31.5}
    outcome = {"metrics": {GAIN: 0.12}, "errors": {GAIN: 0.01}, "epochs": 7, "progress": progress}
    put(api, version, 0, ACTIVE, state=outcome)
    [trial] = api("ListTrials", solutionVersionArn=version)["trials"]
    assert (trial["epoch"], trial["epochs"], trial["trainingSeconds"]) == (7, 7, 31.5)
    assert trial["metrics"] == {GAIN: 0.12}


def test_what_is_taken_up_again_is_as_far_as_its_curve(api: MemoryApi) -> None:
    version = api.version(status=CREATE_IN_PROGRESS)
    progress = {"phase": "loading", "curve": [[3, 0.11, 28.0]], "seconds": 28.1}
    put(api, version, 0, CREATE_IN_PROGRESS, state={"progress": progress})
    [trial] = api("ListTrials", solutionVersionArn=version)["trials"]
    assert (trial["epoch"], trial["trainingSeconds"]) == (3, 28.1)


def test_the_one_that_the_version_was_given_has_won(api: MemoryApi) -> None:
    version = api.version(status=CREATE_IN_PROGRESS)
    for number in range(3):
        put(api, version, number, ACTIVE)
    record = api.record(version)
    won = {"recipeArn": HRNN, "parameters": {}, "searched": [], "trial": 1, "seconds": 1.0}
    api.store.replace(replace(record, state={**record.state, "tuned": won}))
    assert [trial["won"] for trial in api("ListTrials", solutionVersionArn=version)["trials"]] == [False, True, False]


def test_what_has_not_begun_tells_its_choice_alone(api: MemoryApi) -> None:
    version = api.version(status=CREATE_IN_PROGRESS)
    put(api, version, 0, CREATE_PENDING)
    [trial] = api("ListTrials", solutionVersionArn=version)["trials"]
    assert trial["curve"] == []
    assert trial["parameters"] == {"hidden_dimension": "32"}
    assert not {"worker", "epoch", "epochs", "metrics", "trainingSeconds", "failureReason"} & trial.keys()


def test_why_a_trial_ended_is_told(api: MemoryApi) -> None:
    version = api.version()
    put(api, version, 0, CREATE_FAILED, reason="Too little data.")
    put(api, version, 1, CREATE_STOPPED, state={"pruned": True})
    put(api, version, 2, CREATE_STOPPED)
    failed, pruned, stopped = api("ListTrials", solutionVersionArn=version)["trials"]
    assert (failed["failureReason"], pruned["pruned"], stopped["pruned"]) == ("Too little data.", True, False)


def test_they_come_by_number_and_all_at_once(api: MemoryApi) -> None:
    version = api.version()
    for number in (3, 0, 11, *range(12, 40), 1, 2, *range(4, 11)):
        put(api, version, number, ACTIVE)
    trials = api("ListTrials", solutionVersionArn=version)["trials"]
    assert [trial["number"] for trial in trials] == list(range(40))


def test_those_of_another_version_are_not_listed(api: MemoryApi) -> None:
    put(api, api.version(), 0, ACTIVE)
    assert api("ListTrials", solutionVersionArn=api.version(name="another")) == {"trials": []}


def test_a_version_that_is_none_is_refused(api: MemoryApi) -> None:
    with pytest.raises(ResourceNotFound, match="solution version does not exist"):
        api("ListTrials", solutionVersionArn=f"{PREFIX}:solution/s/ffffffff")
    with pytest.raises(ResourceNotFound, match="That is the ARN of a dataset group"):
        api("ListTrials", solutionVersionArn=GROUP)
    with pytest.raises(Validation, match="'solutionVersionArn' failed to satisfy constraint: Member must not be null"):
        api("ListTrials")
