"""The part of the store's protocol that moves live events to files, and its types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

#: The position before the first event of a dataset.
START = "0-0"


@dataclass(frozen=True, kw_only=True)
class LiveFile:
    """A file with the live events of a dataset that arrived from ``first`` to ``last``, which are positions.

    A position is the place of an event in the order of arrival: "<milliseconds by the store's clock>-<number>".
    """

    name: str
    """Its name in the dataset's folder of live events (``Artifacts.get_live_folder``)."""
    first: str
    last: str
    events: int
    bytes: int
    sha256: str
    generation: int
    """The newest generation of the recent events that it covers: see ``StreamCut``."""


@dataclass(frozen=True, kw_only=True)
class StreamSize:
    """How many events of a dataset no compaction has moved yet, and when the oldest of them arrived (epoch seconds)."""

    events: int
    oldest: float

    def is_compaction_due(self, most: int, age: float, now: float) -> bool:
        """Whether there are at least ``most`` events, or the oldest of them is ``age`` seconds old."""
        return self.events >= most or self.oldest <= now - age


@dataclass(frozen=True, kw_only=True)
class StreamCut:
    """The events of a stream that one compaction moves to a file: those up to the position ``last``.

    ``generation`` numbers the users' recent events that came with them. Later events belong to the next generation, so
    that one generation can be dropped as a whole when its events are in a file.
    """

    dataset: str
    writer: str
    last: str
    generation: int
    resumed: bool
    """Whether an earlier compaction that died has decided this: later events may have come since."""


@dataclass(frozen=True, kw_only=True)
class LivePage:
    """The events of a dataset after a position, as they stood at one moment: those in ``files`` come first."""

    files: Sequence[LiveFile]
    """The files with events after the position, in the order of arrival."""
    events: Sequence[tuple[str, str]]
    """The first events of the stream after the position: position, and JSON (``record_codec.read_interaction``)."""


@dataclass(frozen=True, kw_only=True)
class ByGeneration(Generic[T]):
    """The recent events of a user that are in no file, in parts: one, or two while a compaction is under way."""

    moved: int
    """The generation of the dataset's newest file at that moment; -1 where it had none."""
    parts: Sequence[tuple[int, T]]
    """Generation and its part, the older one first."""

    def list_newer_than(self, generation: int) -> list[T]:
        """Return the parts of later generations than the newest one whose files the caller reads."""
        return [part for number, part in self.parts if number > generation]


class LiveFiles(Protocol):
    """The files to which compactions have moved the live events of a dataset.

    Each event is in the stream, or in one file of the list, at every moment. One writer at a time changes the list:
    ``begin_live_writing`` ends the right of the writer before, so that a writer which was only thought dead changes
    nothing, and may lose its files.
    """

    def measure_stream(self, dataset: str) -> StreamSize | None:
        """Return the size of the stream; None where it is empty."""
        ...

    def read_live_page(self, dataset: str, after: str, limit: int) -> LivePage:
        """Return the files, and at most ``limit`` events of the stream, after a position, in one step."""
        ...

    def list_live_files(self, dataset: str) -> Sequence[LiveFile]:
        """Return the list of files, in the order of arrival."""
        ...

    def begin_live_writing(self, dataset: str, writer: str) -> None:
        """Make ``writer``, a new random name, the only one that may change the list."""
        ...

    def cut_stream(self, dataset: str, writer: str) -> StreamCut | None:
        """Decide which events are moved next: all that have arrived, or those of a cut whose compaction has died.

        None where there are none, or where another writer has begun.
        """
        ...

    def commit_live_file(self, cut: StreamCut, file: LiveFile) -> bool:
        """Append the file to the list and remove its events from the stream, in one step that is safe to repeat.

        False, with nothing changed, where another writer has begun or the dataset was cleared.
        """
        ...

    def replace_live_files(self, dataset: str, writer: str, old: Sequence[LiveFile], new: LiveFile | None) -> bool:
        """Put ``new`` in the place of files that follow each other in the list; None removes them.

        The old files count as superseded from then on. False as for ``commit_live_file``.
        """
        ...

    def list_superseded_files(self, dataset: str, newer_than: float = 0.0) -> Sequence[str]:
        """Return the names of files that were replaced; with ``newer_than`` those of the last so many seconds only."""
        ...

    def list_unswept_generations(self, dataset: str) -> Sequence[int]:
        """Return the generations that are in files, and whose recent events have not all been removed."""
        ...

    def sweep_generation(self, dataset: str, generation: int, users: Iterable[str] | None = None) -> None:
        """Remove the recent events of a generation that is in a file.

        ``users`` are those who have such events; without them all keys of the store are searched.
        """
        ...

    def forget_superseded_files(self, dataset: str, names: Sequence[str]) -> None:
        """Forget files that have been removed from the disk."""
        ...
