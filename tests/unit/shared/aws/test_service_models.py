"""What is read from botocore's models, and what this code takes for granted about them."""

from __future__ import annotations

import pytest

from shared.aws import model


def test_the_paths_are_the_eight_of_rest_json() -> None:
    assert model.paths("personalize") == {}
    assert {path for service in model.SERVICES for path in model.paths(service)} == {
        "/recommendations",
        "/personalize-ranking",
        "/action-recommendations",
        "/events",
        "/items",
        "/users",
        "/actions",
        "/action-interactions",
    }


def test_the_targets_are_the_control_planes() -> None:
    assert model.targets("personalize")["AmazonPersonalize.CreateSchema"] == "CreateSchema"
    assert model.targets("personalize-events") == {}


def test_foretastes_own_service_is_none_of_awss() -> None:
    assert model.OWN not in model.SERVICES
    assert model.targets(model.OWN) == {"Foretaste.ListTrials": "ListTrials"}


def test_what_both_models_name_is_one_thing() -> None:
    """A member of our own that has AWS's name has AWS's constraints."""
    theirs = model.operations("personalize")["DescribeSolutionVersion"].input.members["solutionVersionArn"]
    ours = model.operations(model.OWN)["ListTrials"].input.members["solutionVersionArn"]
    assert ours.metadata == theirs.metadata


def test_statuses_stand_in_the_models_of_runtime_and_events_alone() -> None:
    assert model.error_statuses("personalize") == {}
    assert model.error_statuses("personalize-runtime")["ResourceNotFoundException"] == 404
    assert model.error_statuses("personalize-events")["ResourceInUseException"] == 409


def test_another_service_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="s3"):
        model.operations("s3")


@pytest.mark.parametrize("service", [*model.SERVICES, model.OWN])
def test_the_models_use_nothing_that_is_not_read(service) -> None:
    """Every request is one JSON object in a POST: no member travels in a header, path or query."""
    for operation in model.operations(service).values():
        for shape in (operation.input, operation.output):
            for name, member in (shape.members if shape else {}).items():
                assert member.serialization.get("location") is None
                assert member.serialization.get("name", name) == name
                assert not member.metadata.get("document")
                assert member.type_name != "blob"


def test_documentation_is_not_kept() -> None:
    schema = model.operations("personalize")["CreateSchema"].input.members["name"]
    assert schema.documentation == ""
