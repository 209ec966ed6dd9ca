"""Each type of resource is declared whole: AWS's operations, members and commands follow from its name."""

from __future__ import annotations

import importlib.util

import pytest

from shared.aws import service_model
from shared.resources import RESOURCES, Resource
from shared.state.messages import (
    COMMANDS,
    CompactEvents,
    HelpBatchJob,
    Provision,
    Remove,
    TuneSolutionVersion,
)

OPERATIONS = service_model.load_operations("personalize")
SHOWN = {noun: resource for noun, resource in RESOURCES.items() if not resource.hidden}


@pytest.mark.parametrize("resource", SHOWN.values(), ids=list(SHOWN))
def test_its_name_leads_to_aws_operations_and_members(resource: Resource) -> None:
    describe = OPERATIONS[f"Describe{resource.name}"]
    assert list(describe.input.members) == [resource.arn_member]
    assert list(describe.output.members) == [resource.camel]
    assert resource.arn_member in OPERATIONS[f"Create{resource.name}"].output.members
    assert f"List{resource.name}s" in OPERATIONS


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=list(RESOURCES))
def test_its_folder_bears_its_noun(resource: Resource) -> None:
    assert importlib.util.find_spec(f"shared.resources.{resource.noun}.requests") is not None


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=list(RESOURCES))
def test_what_it_names_exists(resource: Resource) -> None:
    named = {*resource.blocked_by, *resource.busy_with, *resource.owns, *filter(None, [resource.needed_to_list])}
    assert named <= set(RESOURCES)


def test_every_command_starts_the_work_of_some_resource() -> None:
    started = {resource.command for resource in RESOURCES.values()}
    # TuneSolutionVersion is chosen by what a solution version asks for, HelpBatchJob is sent by a job in progress, and
    # CompactEvents by the status service.
    assert set(COMMANDS) - {CompactEvents, HelpBatchJob, Remove, TuneSolutionVersion} <= started
    assert Provision in started
