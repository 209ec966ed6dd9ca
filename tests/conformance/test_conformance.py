"""All 79 operations on a running system: answered as AWS answers, refused as AWS refuses, and nothing written then.

Requests and faults are made from AWS's service model; ``world.py`` says what valid requests name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.conformance import faults
from tests.conformance.wire import OPERATIONS, Reply
from tests.conformance.world import VALID, World
from tests.conftest import until
from tests.contracts.wire.generated_requests import Fault, full
from tests.contracts.wire.generated_requests import faults as model_faults

CREATES = sorted(name for name in OPERATIONS if name.startswith("Create"))
LISTS = sorted(name for name, one in OPERATIONS.items() if one.input and "nextToken" in one.input.members)
#: Members that Describe shows otherwise than Create took them.
SHOWN_OTHERWISE = {"datasetType", "tags", "performAutoTraining"}

each_operation = pytest.mark.parametrize("name", sorted(OPERATIONS))


def refused(world: World, name: str, request: Any, found: Iterable[Fault]) -> None:
    """Each fault by itself is refused by its name, and the store is as it was before."""
    world.quiet()
    before, wrong, count = world.snapshot(), [], 0
    for fault in found:
        reply = world.wire.send(name, fault.applied(request))
        count += 1
        if reply.code != fault.code or (fault.code == "" and any(reply.members.values())):
            wrong.append(f"{fault.path} = {str(fault.value)[:120]!r}, expected {fault.code or 'nothing'}: {reply}")
    world.wire.counts["broken requests"] += count
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])
    after = world.snapshot()
    assert after == before, f"{sorted(after.items() ^ before.items())[:3]}"


def test_there_are_79_operations_and_a_valid_request_of_each() -> None:
    assert len(OPERATIONS) == 79
    assert VALID.keys() == OPERATIONS.keys()


@each_operation
def test_what_the_model_forbids_is_refused(world: World, name: str) -> None:
    shape = OPERATIONS[name].input
    refused(world, name, full(shape), model_faults(shape))


@each_operation
def test_what_leads_nowhere_is_refused(world: World, name: str) -> None:
    request = standing_request(world, name)
    found = [
        *faults.of_arns(request, lists=name in LISTS and name != "ListSolutionVersions"),
        *(faults.of_tags() if "tags" in OPERATIONS[name].input.members else ()),
        *faults.PARTICULAR.get(name, ()),
    ]
    refused(world, name, request, found)


def standing_request(world: World, name: str) -> dict[str, Any]:
    """A valid request that is not sent: what it would delete or switch may as well stand."""
    if name.startswith(("Delete", "Start", "Stop")):
        noun = "solution_version" if name == "StopSolutionVersionCreation" else _noun(name)
        return {_member(noun): world.arn[noun]}
    return VALID[name](world)


def _noun(name: str) -> str:
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words[1:].partition("_")[2]


def _member(noun: str) -> str:
    first, *rest = noun.split("_")
    return f"{first}{''.join(word.capitalize() for word in rest)}Arn"


@pytest.mark.parametrize("name", LISTS)
def test_a_token_is_good_for_its_own_list(world: World, name: str) -> None:
    other = "ListSchemas" if name != "ListSchemas" else "ListDatasetGroups"
    foreign = world.wire.send(other, {"maxResults": 1}).members["nextToken"]
    refused(world, name, VALID[name](world), faults.of_tokens(foreign))


@pytest.mark.parametrize("name", LISTS)
def test_pages_of_one_make_the_whole_list(world: World, name: str) -> None:
    world.quiet()
    request = VALID[name](world)
    whole, pages, token = _entries(world.wire.send(name, request)), [], None
    while True:
        reply = world.wire.send(name, {**request, "maxResults": 1, **({"nextToken": token} if token else {})})
        pages += _entries(reply)
        token = reply.members.get("nextToken")
        if token is None:
            break
    assert pages == whole
    assert whole


def _entries(reply: Reply) -> list[Any]:
    [entries] = [value for value in reply.members.values() if isinstance(value, list)]
    return entries


@each_operation
def test_a_valid_request_is_answered(world: World, name: str) -> None:
    reply = world.wire.send(name, VALID[name](world))
    world.wire.counts["valid requests"] += 1
    assert reply.status == 200, str(reply)


@pytest.mark.parametrize("name", CREATES)
def test_what_was_made_is_described_as_it_was_asked_for(world: World, name: str) -> None:
    noun, request = _noun(name), VALID[name](world)
    reply = world.wire.send(name, request, invocation=(invocation := str(uuid.uuid4())))
    assert reply.status == 200, str(reply)
    described = world.settled(noun, reply.members[_member(noun)])
    [shape] = OPERATIONS[name.replace("Create", "Describe")].output.members.values()
    shown = (request.keys() & shape.members.keys()) - SHOWN_OTHERWISE
    assert {member: described.get(member) for member in shown} == {member: request[member] for member in shown}
    again = world.wire.send(name, request, invocation=invocation)
    assert again.members == reply.members, "an SDK that asks once more is given what its first call made"
    world.wire.counts["valid requests"] += 2
    refused(world, name, request, [Fault(("nameless",), None, "ResourceAlreadyExistsException")])


@pytest.mark.parametrize("name", sorted(name for name in OPERATIONS if name.startswith("Delete")))
def test_what_was_deleted_is_gone(world: World, name: str) -> None:
    noun = _noun(name)
    arn = world.fresh(noun)
    assert world.wire.send(name, {_member(noun): arn}).status == 200
    describe = f"Describe{name.removeprefix('Delete')}"
    until(lambda: world.wire.send(describe, {_member(noun): arn}).code == "ResourceNotFoundException", 60, arn)
    world.wire.counts["valid requests"] += 1
    refused(world, name, {_member(noun): arn}, [Fault(("nameless",), None, "ResourceNotFoundException")])


def test_nothing_was_left_out(world: World, record_property: Callable[[str, object], None]) -> None:
    """Runs last, and says how far the others went."""
    counted = ", ".join(f"{count:,} {what}" for what, count in world.wire.counts.items())
    record_property("told", f"conformance: {len(world.wire.operations)} operations, {counted}")
    assert world.wire.operations == OPERATIONS.keys()
