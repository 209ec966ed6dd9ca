"""Every message that crosses the queue.

A command asks for work and has one handler; a fact reports an event to the status service. Fields are ids, numbers
and short strings; wire names are spelled out, so that a moved module orphans no queued message. The record holds the
state, and a message only prompts a look at it: a message that is lost, repeated or late changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from typing import Any, ClassVar, Self

from shared.state.lifecycle import Happened


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message about the resource ``arn``. ``wire`` is its name; the part before the dot names the queue."""

    wire: ClassVar[str]

    arn: str

    @classmethod
    def get_queue_name(cls) -> str:
        return cls.wire.partition(".")[0]

    def to_fields(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_fields(cls, members: Mapping[str, Any]) -> Self:
        """Build a message; ignore fields that this release does not know. Raises TypeError where one is missing."""
        known = {field.name for field in fields_of(cls)}
        return cls(**{name: value for name, value in members.items() if name in known})


class Command(Message):
    """Asks for work on the resource ``arn``."""

    silence: ClassVar[str] = ""
    """The setting for the longest time without a sign of progress, for work that a worker's child process does."""
    ends_stopped_work: ClassVar[bool] = False
    """Whether its handler ends work that a client stops. All other work has ended when no worker holds its lease."""


class ImportDataset(Command):
    """Read the CSV of a dataset import job into the dataset."""

    wire = "importing.import_dataset"
    silence = "import_silence_seconds"


class ExportDataset(Command):
    """Write the records of a dataset as CSV files into a bucket."""

    wire = "importing.export_dataset"
    silence = "export_silence_seconds"


class DeleteUsers(Command):
    """Delete all data of the users that a data deletion job names."""

    wire = "importing.delete_users"
    silence = "data_deletion_silence_seconds"


class CompactEvents(Command):
    """Move the live events of a dataset from the store to files."""

    wire = "importing.compact_events"
    silence = "import_silence_seconds"


class TrainSolutionVersion(Command):
    """Train, evaluate and save the model of a solution version."""

    wire = "training.train_solution_version"
    silence = "training_silence_seconds"


class TuneSolutionVersion(Command):
    """Take the next step of HPO or AutoML: begin trials, end some early, or choose the winner."""

    wire = "tuning.tune_solution_version"
    ends_stopped_work = True


class RunTrial(Command):
    """Train with the hyperparameters of a trial and report their metrics."""

    wire = "training.run_trial"
    silence = "trial_silence_seconds"


class RunBatchInference(Command):
    """Answer the lines of a batch inference job's input, and write the results."""

    wire = "inference.run_batch_inference"
    silence = "batch_silence_seconds"


class RunBatchSegment(Command):
    """List the users of the segments of a batch segment job's input, and write the results."""

    wire = "inference.run_batch_segment"
    silence = "batch_silence_seconds"


class HelpBatchJob(Command):
    """Answer lines of a batch job that another worker has claimed: a lost one costs time alone."""

    wire = "inference.help_batch_job"
    silence = "batch_silence_seconds"


class Provision(Command):
    """Provision a resource that needs no worker: the status service completes it."""

    wire = "status.provision"


class AdvanceRecommender(Command):
    """Take the next step of a recommender with work in progress: train its model, or complete the request."""

    wire = "status.advance_recommender"


class Remove(Command):
    """Remove a resource after a Delete request, with all records that it owns."""

    wire = "status.remove"


@dataclass(frozen=True, kw_only=True)
class Fact(Message):
    """Reports an event of the ``attempt`` that ``arn``'s record counts; facts of older attempts are ignored."""

    happened: ClassVar[Happened]

    attempt: int


class Started(Fact):
    """A worker has claimed the work."""

    wire = "status.started"
    happened = Happened.STARTED


@dataclass(frozen=True, kw_only=True)
class Progressed(Fact):
    """Reports progress: those of phase, epoch, epochs, loss, eta_seconds and rows that apply."""

    wire = "status.progressed"
    happened = Happened.PROGRESSED

    progress: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finished(Fact):
    """The work has succeeded; the record keeps ``outcome``, its numbers and names."""

    wire = "status.finished"
    happened = Happened.FINISHED

    outcome: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Fact):
    """The work has failed; ``reason`` becomes the resource's failureReason."""

    wire = "status.failed"
    happened = Happened.FAILED

    reason: str


class Stopped(Fact):
    """The work has ended because a client stopped it."""

    wire = "status.stopped"
    happened = Happened.STOPPED


COMMANDS: tuple[type[Command], ...] = (
    ImportDataset,
    ExportDataset,
    DeleteUsers,
    CompactEvents,
    TrainSolutionVersion,
    TuneSolutionVersion,
    RunTrial,
    RunBatchInference,
    RunBatchSegment,
    HelpBatchJob,
    Provision,
    AdvanceRecommender,
    Remove,
)
FACTS: tuple[type[Fact], ...] = (Started, Progressed, Finished, Failed, Stopped)
BY_WIRE: Mapping[str, type[Message]] = {message.wire: message for message in (*COMMANDS, *FACTS)}
