"""The part of the store in memory that reads recent events, and moves live events to files."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from shared.store import SEEN_LIMIT, SEEN_SECONDS, Interaction, SeenItems, record_codec
from shared.store.live_files import START, ByGeneration, LiveFile, LivePage, StreamCut, StreamSize
from shared.store.positions import get_arrival, parse_position


@dataclass
class _LiveState:
    """The files of one dataset, and the compaction under way."""

    writer: str | None = None
    files: list[LiveFile] = field(default_factory=list)
    #: Name of a file that was replaced -> since when.
    superseded: dict[str, float] = field(default_factory=dict)
    generation: int = 0
    oldest: int = 0
    moved: int = -1
    unswept: set[int] = field(default_factory=set)
    cut: str = START


class MemoryLiveFiles(ABC):
    """Implements ``shared.store.live_files.LiveFiles`` and reads recent events, for a class with these members."""

    _lock: threading.RLock
    _clock: Callable[[], float]
    _streams: dict[str, list[tuple[str, Interaction]]]
    _recent: dict[tuple[int, str, str], list[Interaction]]
    _seen: dict[tuple[int, str, str], tuple[float, SeenItems]]

    @abstractmethod
    def _notify_subscribers(self, *keys: str) -> None:
        """Tell the caches of other processes that these keys have changed."""

    def __init__(self) -> None:
        self._live: dict[str, _LiveState] = defaultdict(_LiveState)
        self._last_position = (0, 0)
        self._generations = 0

    def _get_generation(self, dataset: str) -> int:
        """Return the generation of the events that come now."""
        state = self._live[dataset]
        if state.generation == 0:
            state.generation = state.oldest = self._create_generation()
        return state.generation

    def _create_generation(self) -> int:
        self._generations += 1
        return self._generations

    def _list_generations(self, dataset: str) -> tuple[int, list[int]]:
        """Return the generation of the newest file, and those that are in no file."""
        state = self._live[dataset] if dataset in self._live else _LiveState()
        return state.moved, sorted({state.oldest, state.generation})

    def _create_position(self) -> str:
        last, number = self._last_position
        now = int(self._clock() * 1000)
        self._last_position = (now, 0) if now > last else (last, number + 1)
        return "{}-{}".format(*self._last_position)

    def get_recent_interactions(self, dataset: str, user_id: str) -> ByGeneration[list[Interaction]]:
        with self._lock:
            moved, generations = self._list_generations(dataset)
            parts = [(number, list(self._recent.get((number, dataset, user_id), ()))) for number in generations]
            return ByGeneration(moved=moved, parts=parts)

    def _add_seen_item(self, key: tuple[int, str, str], one: Interaction) -> None:
        if one.item_id is None:
            return
        types = dict(self._find_seen_items(key))
        items = {**types.get(one.event_type.lower(), {})}
        items[one.item_id] = max(one.sent_at, items.get(one.item_id, 0.0))
        newest = sorted(items.items(), key=lambda seen: (seen[1], seen[0]))[-SEEN_LIMIT:]
        self._seen[key] = (self._clock(), {**types, one.event_type.lower(): dict(newest)})

    def _find_seen_items(self, key: tuple[int, str, str]) -> SeenItems:
        at, types = self._seen.get(key, (0.0, {}))
        return types if self._clock() < at + SEEN_SECONDS else {}

    def get_seen_items(self, dataset: str, user_id: str) -> ByGeneration[SeenItems]:
        with self._lock:
            moved, generations = self._list_generations(dataset)
            parts = [(number, self._find_seen_items((number, dataset, user_id))) for number in generations]
            return ByGeneration(moved=moved, parts=parts)

    def measure_stream(self, dataset: str) -> StreamSize | None:
        with self._lock:
            stream = self._streams.get(dataset)
            return StreamSize(events=len(stream), oldest=get_arrival(stream[0][0])) if stream else None

    def read_live_page(self, dataset: str, after: str, limit: int) -> LivePage:
        place = parse_position(after)
        with self._lock:
            stream = self._streams.get(dataset, [])
            begin = bisect_right(stream, place, key=lambda entry: parse_position(entry[0]))
            page = stream[begin : begin + limit]
            return LivePage(
                files=[file for file in self.list_live_files(dataset) if parse_position(file.last) > place],
                events=[(position, record_codec.write_interaction(one)) for position, one in page],
            )

    def list_live_files(self, dataset: str) -> Sequence[LiveFile]:
        with self._lock:
            return list(self._live[dataset].files) if dataset in self._live else []

    def begin_live_writing(self, dataset: str, writer: str) -> None:
        with self._lock:
            self._live[dataset].writer = writer

    def _is_writer(self, dataset: str, writer: str) -> bool:
        return dataset in self._live and self._live[dataset].writer == writer

    def cut_stream(self, dataset: str, writer: str) -> StreamCut | None:
        with self._lock:
            if not self._is_writer(dataset, writer):
                return None
            state = self._live[dataset]
            resumed = state.generation != state.oldest
            if not resumed:
                if not self._streams.get(dataset):
                    return None
                state.generation, state.cut = self._create_generation(), self._streams[dataset][-1][0]
            return StreamCut(dataset=dataset, writer=writer, last=state.cut, generation=state.oldest, resumed=resumed)

    def commit_live_file(self, cut: StreamCut, file: LiveFile) -> bool:
        with self._lock:
            if not self._is_writer(cut.dataset, cut.writer):
                return False
            state = self._live[cut.dataset]
            if state.files and state.files[-1] == file:
                return True
            if state.generation == state.oldest or (state.oldest, state.cut) != (cut.generation, cut.last):
                return False
            last = parse_position(cut.last)
            stream = self._streams[cut.dataset]
            self._streams[cut.dataset] = [entry for entry in stream if parse_position(entry[0]) > last]
            state.files.append(file)
            state.moved, state.oldest = state.oldest, state.generation
            state.unswept.add(state.moved)
            return True

    def replace_live_files(self, dataset: str, writer: str, old: Sequence[LiveFile], new: LiveFile | None) -> bool:
        with self._lock:
            if not self._is_writer(dataset, writer):
                return False
            state = self._live[dataset]
            names, wanted = [file.name for file in state.files], [file.name for file in old]
            if new is not None and new.name in names:
                return True
            if wanted[0] not in names:
                return new is None
            begin = names.index(wanted[0])
            if names[begin : begin + len(wanted)] != wanted:
                return False
            state.files[begin : begin + len(wanted)] = [] if new is None else [new]
            state.superseded.update(dict.fromkeys(wanted, self._clock()))
            return True

    def list_superseded_files(self, dataset: str, newer_than: float = 0.0) -> Sequence[str]:
        with self._lock:
            superseded = self._live[dataset].superseded if dataset in self._live else {}
            return [name for name, at in superseded.items() if not newer_than or at >= self._clock() - newer_than]

    def list_unswept_generations(self, dataset: str) -> Sequence[int]:
        with self._lock:
            return sorted(self._live[dataset].unswept) if dataset in self._live else []

    def sweep_generation(self, dataset: str, generation: int, users: Iterable[str] | None = None) -> None:
        with self._lock:
            kept = {user for number, of, user in self._recent if (number, of) == (generation, dataset)}
            for user in kept if users is None else kept.intersection(users):
                del self._recent[generation, dataset, user]
                self._seen.pop((generation, dataset, user), None)
                self._notify_subscribers(f"recent:{dataset}:{user}")
            self._live[dataset].unswept.discard(generation)

    def forget_superseded_files(self, dataset: str, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._live[dataset].superseded.pop(name, None)
