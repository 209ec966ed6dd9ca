"""What is read from botocore's models, and what this code takes for granted about them."""

from __future__ import annotations

import pytest

from shared.aws import service_model


def test_the_paths_are_the_eight_of_rest_json() -> None:
    assert service_model.load_paths("personalize") == {}
    assert {path for service in service_model.SERVICES for path in service_model.load_paths(service)} == {
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
    assert service_model.load_targets("personalize")["AmazonPersonalize.CreateSchema"] == "CreateSchema"
    assert service_model.load_targets("personalize-events") == {}


def test_foretastes_own_service_is_none_of_awss() -> None:
    assert service_model.OWN_SERVICE not in service_model.SERVICES
    assert service_model.load_targets(service_model.OWN_SERVICE)["Foretaste.ListTrials"] == "ListTrials"


def test_what_both_models_name_is_one_thing() -> None:
    """A member of our own that has AWS's name has AWS's constraints."""
    theirs = service_model.load_operations("personalize")["DescribeSolutionVersion"].input.members["solutionVersionArn"]
    ours = service_model.load_operations(service_model.OWN_SERVICE)["ListTrials"].input.members["solutionVersionArn"]
    assert ours.metadata == theirs.metadata


def test_statuses_stand_in_the_models_of_runtime_and_events_alone() -> None:
    assert service_model.load_error_statuses("personalize") == {}
    assert service_model.load_error_statuses("personalize-runtime")["ResourceNotFoundException"] == 404
    assert service_model.load_error_statuses("personalize-events")["ResourceInUseException"] == 409


def test_another_service_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="s3"):
        service_model.load_operations("s3")


@pytest.mark.parametrize("service", [*service_model.SERVICES, service_model.OWN_SERVICE])
def test_the_models_use_nothing_that_is_not_read(service) -> None:
    """Every request is one JSON object in a POST: no member travels in a header, path or query."""
    for operation in service_model.load_operations(service).values():
        for shape in (operation.input, operation.output):
            for name, member in (shape.members if shape else {}).items():
                assert member.serialization.get("location") is None
                assert member.serialization.get("name", name) == name
                assert not member.metadata.get("document")
                assert member.type_name != "blob"


def test_documentation_is_not_kept() -> None:
    schema = service_model.load_operations("personalize")["CreateSchema"].input.members["name"]
    assert schema.documentation == ""
