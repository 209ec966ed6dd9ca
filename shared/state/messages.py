"""Every message that crosses the queue: the catalogue of traffic.

A command asks for work and has one handler; a fact says what happened and is read by the status service. Fields
are ids, numbers and short strings; wire names are written out, so that a moved module orphans no queued message.
The record is the truth and a message only rings: losing one, or getting it twice or late, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from typing import Any, ClassVar, Self

from shared.state.lifecycle import Happened


@dataclass(frozen=True, kw_only=True)
class Message:
    """What travels: ``wire`` is its name on the queue, whose first half is the queue's own name."""

    wire: ClassVar[str]

    arn: str

    @classmethod
    def get_queue_name(cls) -> str:
        return cls.wire.partition(".")[0]

    def to_fields(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_fields(cls, members: Mapping[str, Any]) -> Self:
        """Of these fields; what only another release knows is passed over. Raises TypeError where one is missing."""
        known = {field.name for field in fields_of(cls)}
        return cls(**{name: value for name, value in members.items() if name in known})


class Command(Message):
    """Asks for work on the resource ``arn``."""

    silence: ClassVar[str] = ""
    """The setting that says for how long its work may show no sign of getting on, where a worker's child does it."""
    winds_down: ClassVar[bool] = False
    """Its handler sees to the end of work that a client stops. All other work is over when nobody is at it."""


class ImportDataset(Command):
    """Read the CSV of a dataset import job into the dataset."""

    wire = "importing.import_dataset"
    silence = "import_silence_seconds"


class TrainSolutionVersion(Command):
    """Train, evaluate and keep the model of a solution version."""

    wire = "training.train_solution_version"
    silence = "training_silence_seconds"


class TuneSolutionVersion(Command):
    """Take the next step of HPO or AutoML: begin trials, end some early, or choose the winner."""

    wire = "tuning.tune_solution_version"
    winds_down = True


class RunTrial(Command):
    """Train with the hyperparameters of a trial and tell what they come to."""

    wire = "training.run_trial"
    silence = "trial_silence_seconds"


class Provision(Command):
    """See to a resource that needs no worker of its own: the status service does what it needs."""

    wire = "status.provision"


class AdvanceRecommender(Command):
    """Take the next step of a recommender in motion: have its model trained, or end what was asked."""

    wire = "status.advance_recommender"


class Decline(Command):
    """Say of a job that this release does not do such work yet."""

    wire = "status.decline"


class Remove(Command):
    """Remove a resource whose deletion was asked for, with all that vanishes with it."""

    wire = "status.remove"


@dataclass(frozen=True, kw_only=True)
class Fact(Message):
    """Says what happened in the ``attempt`` that ``arn``'s record counts; older attempts are not heard."""

    happened: ClassVar[Happened]

    attempt: int


class Started(Fact):
    """Somebody has taken the work up."""

    wire = "status.started"
    happened = Happened.STARTED


@dataclass(frozen=True, kw_only=True)
class Progressed(Fact):
    """How far the work is: phase, epoch, epochs, loss, eta_seconds, rows; those that apply."""

    wire = "status.progressed"
    happened = Happened.PROGRESSED

    progress: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finished(Fact):
    """The work is done; ``outcome`` holds the numbers and names that the record keeps of it."""

    wire = "status.finished"
    happened = Happened.FINISHED

    outcome: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Fact):
    """The work can't be done; ``reason`` becomes the resource's failureReason."""

    wire = "status.failed"
    happened = Happened.FAILED

    reason: str


class Stopped(Fact):
    """The work was ended because a client asked for it."""

    wire = "status.stopped"
    happened = Happened.STOPPED


COMMANDS: tuple[type[Command], ...] = (
    ImportDataset,
    TrainSolutionVersion,
    TuneSolutionVersion,
    RunTrial,
    Provision,
    AdvanceRecommender,
    Decline,
    Remove,
)
FACTS: tuple[type[Fact], ...] = (Started, Progressed, Finished, Failed, Stopped)
BY_WIRE: Mapping[str, type[Message]] = {message.wire: message for message in (*COMMANDS, *FACTS)}
