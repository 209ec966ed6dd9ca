"""The state machine of every resource: (status, request or fact) -> next status. Only this file spells AWS's statuses.

A pair without an entry is a repeated or misplaced report and changes nothing. Sources: the Personalize API reference
and, where it contradicts itself, observed answers of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

CREATE_PENDING = "CREATE PENDING"
CREATE_IN_PROGRESS = "CREATE IN_PROGRESS"
CREATE_FAILED = "CREATE FAILED"
CREATE_STOPPING = "CREATE STOPPING"
CREATE_STOPPED = "CREATE STOPPED"
ACTIVE = "ACTIVE"
UPDATE_PENDING = "UPDATE PENDING"
UPDATE_IN_PROGRESS = "UPDATE IN_PROGRESS"
STOP_PENDING = "STOP PENDING"
STOP_IN_PROGRESS = "STOP IN_PROGRESS"
INACTIVE = "INACTIVE"
START_PENDING = "START PENDING"
START_IN_PROGRESS = "START IN_PROGRESS"
DELETE_PENDING = "DELETE PENDING"
DELETE_IN_PROGRESS = "DELETE IN_PROGRESS"

# Only data deletion jobs have these.
PENDING = "PENDING"
IN_PROGRESS = "IN_PROGRESS"
COMPLETED = "COMPLETED"
FAILED = "FAILED"

#: Not a status: the record is removed, and Describe answers ResourceNotFoundException from then on.
GONE = ""


class TransitionRequest(StrEnum):
    """A client's request for a change of an existing resource. The API writes the next status at once."""

    STOP = "stop"
    START = "start"
    DELETE = "delete"


class Happened(StrEnum):
    """The events that facts (``shared/state/messages.py``) report. Only the status service writes the next status."""

    STARTED = "started"
    PROGRESSED = "progressed"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


TransitionTable = Mapping[tuple[str, TransitionRequest | Happened], str]


def _build_work_transitions(
    pending: str, under_way: str, done: str, failed: str
) -> dict[tuple[str, TransitionRequest | Happened], str]:
    """Build the transitions of work that waits, runs, and succeeds or fails.

    A Finished may overtake its own Started on the queue: the later fact implies the earlier one.
    """
    return {
        (pending, Happened.STARTED): under_way,
        (pending, Happened.PROGRESSED): under_way,
        (pending, Happened.FINISHED): done,
        (pending, Happened.FAILED): failed,
        (under_way, Happened.PROGRESSED): under_way,
        (under_way, Happened.FINISHED): done,
        (under_way, Happened.FAILED): failed,
    }


CREATION: TransitionTable = _build_work_transitions(CREATE_PENDING, CREATE_IN_PROGRESS, ACTIVE, CREATE_FAILED)

# Stopping is final: work that ends while it is being stopped has been stopped.
STOPPING: TransitionTable = {
    (CREATE_PENDING, TransitionRequest.STOP): CREATE_STOPPED,
    (CREATE_IN_PROGRESS, TransitionRequest.STOP): CREATE_STOPPING,
    (CREATE_STOPPING, Happened.STOPPED): CREATE_STOPPED,
    (CREATE_STOPPING, Happened.FINISHED): CREATE_STOPPED,
    (CREATE_STOPPING, Happened.FAILED): CREATE_STOPPED,
}

# A stop that fails leaves the resource ACTIVE, a start that fails leaves it INACTIVE: AWS has no status for either.
SWITCHING: TransitionTable = {
    (ACTIVE, TransitionRequest.STOP): STOP_PENDING,
    **_build_work_transitions(STOP_PENDING, STOP_IN_PROGRESS, INACTIVE, ACTIVE),
    (INACTIVE, TransitionRequest.START): START_PENDING,
    **_build_work_transitions(START_PENDING, START_IN_PROGRESS, ACTIVE, INACTIVE),
}

DELETION: TransitionTable = {
    (ACTIVE, TransitionRequest.DELETE): DELETE_PENDING,
    (CREATE_FAILED, TransitionRequest.DELETE): DELETE_PENDING,
    (DELETE_PENDING, Happened.STARTED): DELETE_IN_PROGRESS,
    (DELETE_PENDING, Happened.FINISHED): GONE,
    (DELETE_IN_PROGRESS, Happened.FINISHED): GONE,
}

#: Statuses in which no work is in progress.
TERMINAL = frozenset({ACTIVE, INACTIVE, CREATE_FAILED, CREATE_STOPPED, COMPLETED, FAILED})

#: Statuses that have a failureReason.
FAILED_STATUSES = frozenset({CREATE_FAILED, FAILED})

#: Statuses in which a worker may claim the work.
CLAIMABLE = frozenset(
    {
        CREATE_PENDING,
        CREATE_IN_PROGRESS,
        UPDATE_PENDING,
        UPDATE_IN_PROGRESS,
        STOP_PENDING,
        STOP_IN_PROGRESS,
        START_PENDING,
        START_IN_PROGRESS,
        PENDING,
        IN_PROGRESS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """The transitions of one type of resource, and the status that Create gives it."""

    transitions: TransitionTable
    first: str = CREATE_PENDING

    def get_next_status(self, status: str, event: TransitionRequest | Happened) -> str | None:
        """Return the next status, None when nothing changes."""
        return self.transitions.get((status, event))


JOB = Lifecycle(transitions=CREATION)
DEPLOYABLE = Lifecycle(transitions={**CREATION, **DELETION})
TRAINED = Lifecycle(transitions={**CREATION, **STOPPING})
SWITCHABLE = Lifecycle(
    transitions={**CREATION, **SWITCHING, **DELETION, (INACTIVE, TransitionRequest.DELETE): DELETE_PENDING}
)
#: A solution is usable as soon as it exists: observed at AWS, although its reference lists the creation's statuses.
IMMEDIATE = Lifecycle(transitions={**CREATION, **DELETION}, first=ACTIVE)
#: The lifecycle of data deletion jobs, from AWS's reference.
DATA_DELETION = Lifecycle(transitions=_build_work_transitions(PENDING, IN_PROGRESS, COMPLETED, FAILED), first=PENDING)

#: An update with its own status runs through the creation's statuses, while the resource keeps its status.
UPDATE = Lifecycle(transitions=CREATION)
#: An update that shows as the resource's status, of datasets and metric attributions.
UPDATE_IN_PLACE = Lifecycle(
    transitions=_build_work_transitions(UPDATE_PENDING, UPDATE_IN_PROGRESS, ACTIVE, CREATE_FAILED), first=UPDATE_PENDING
)
