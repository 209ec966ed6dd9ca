"""(status, what happened) -> status, for every resource; the words of AWS's statuses stand here and nowhere else.

A pair that is in no table is a repeated or misplaced report and changes nothing. Sources: the Personalize API
reference and, where it contradicts itself, what the service was seen to answer.
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
DELETE_PENDING = "DELETE PENDING"
DELETE_IN_PROGRESS = "DELETE IN_PROGRESS"

#: Not a status: the record is removed, and Describe answers ResourceNotFoundException from then on.
GONE = ""


class Request(StrEnum):
    """What a client asks of a resource that stands. The API writes the status that follows, at once."""

    STOP = "stop"
    DELETE = "delete"


class Happened(StrEnum):
    """What the facts in ``shared/messages.py`` say. The status service alone writes the status that follows."""

    STARTED = "started"
    PROGRESSED = "progressed"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


Moves = Mapping[tuple[str, Request | Happened], str]

# A Finished may overtake its own Started on the queue: the later fact implies the earlier one.
CREATION: Moves = {
    (CREATE_PENDING, Happened.STARTED): CREATE_IN_PROGRESS,
    (CREATE_PENDING, Happened.FINISHED): ACTIVE,
    (CREATE_PENDING, Happened.FAILED): CREATE_FAILED,
    (CREATE_PENDING, Happened.PROGRESSED): CREATE_IN_PROGRESS,
    (CREATE_IN_PROGRESS, Happened.PROGRESSED): CREATE_IN_PROGRESS,
    (CREATE_IN_PROGRESS, Happened.FINISHED): ACTIVE,
    (CREATE_IN_PROGRESS, Happened.FAILED): CREATE_FAILED,
}

# Stopping is final: work that ends while it is being stopped has been stopped.
STOPPING: Moves = {
    (CREATE_PENDING, Request.STOP): CREATE_STOPPED,
    (CREATE_IN_PROGRESS, Request.STOP): CREATE_STOPPING,
    (CREATE_STOPPING, Happened.STOPPED): CREATE_STOPPED,
    (CREATE_STOPPING, Happened.FINISHED): CREATE_STOPPED,
    (CREATE_STOPPING, Happened.FAILED): CREATE_STOPPED,
}

DELETION: Moves = {
    (ACTIVE, Request.DELETE): DELETE_PENDING,
    (CREATE_FAILED, Request.DELETE): DELETE_PENDING,
    (DELETE_PENDING, Happened.STARTED): DELETE_IN_PROGRESS,
    (DELETE_PENDING, Happened.FINISHED): GONE,
    (DELETE_IN_PROGRESS, Happened.FINISHED): GONE,
}

#: Statuses in which nothing more will happen by itself.
SETTLED = frozenset({ACTIVE, CREATE_FAILED, CREATE_STOPPED})

#: Statuses in which a worker may take the work up.
CLAIMABLE = frozenset({CREATE_PENDING, CREATE_IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """The moves of one type of resource, and the status that Create gives it."""

    moves: Moves
    first: str = CREATE_PENDING

    def after(self, status: str, what: Request | Happened) -> str | None:
        """The status that follows, or None when nothing changes."""
        return self.moves.get((status, what))


JOB = Lifecycle(moves=CREATION)
DEPLOYABLE = Lifecycle(moves={**CREATION, **DELETION})
TRAINED = Lifecycle(moves={**CREATION, **STOPPING})
#: A solution is usable as soon as it is described: seen so at AWS, although its reference lists the creation.
IMMEDIATE = Lifecycle(moves={**CREATION, **DELETION}, first=ACTIVE)

#: An update of a campaign runs the creation's list in its own status, while the campaign's stays.
UPDATE = Lifecycle(moves=CREATION)
