"""Live events in files: the same events in the same order, wherever they stand, and wherever a writer is killed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
import pytest

from shared.data import live_events, live_files
from shared.data.live_events import iter_live_events, iter_live_events_after
from shared.data.live_files import LiveFileWriter, WriterReplaced, remove_orphans
from shared.data.live_index import get_index_path
from shared.storage.artifacts import ArtifactDamaged, Artifacts
from shared.store import Interaction, Record
from shared.store.live_files import START, LiveFile, StreamCut
from shared.store.memory import MemoryStore

D = "arn:aws:personalize:us-east-1:000000000000:dataset/g/INTERACTIONS"


class World:
    def __init__(self, root: Path) -> None:
        self.now = 1000.0
        self.store = MemoryStore(lambda: self.now)
        self.artifacts = Artifacts(root)
        self.sent: list[Interaction] = []

    def send(self, *users: str) -> None:
        events = [build_event(user, len(self.sent) + number) for number, user in enumerate(users)]
        self.store.append_interactions(D, events, invocation=str(len(self.sent)))
        self.sent += events
        self.now += 1.0

    def write(self, on_step: Callable[[], None] = lambda: None) -> LiveFileWriter:
        return LiveFileWriter(self.store, self.artifacts, D, memory_mb=256, on_step=on_step)

    def compact(self) -> None:
        with self.write() as writer:
            writer.compact_stream()

    def read(self) -> list[Interaction]:
        return list(iter_live_events(self.store, self.artifacts, D))

    def list_disk(self) -> list[str]:
        return sorted(path.name for path in self.artifacts.get_live_folder(D).glob("*"))

    def list_names(self) -> list[str]:
        return [file.name for file in self.store.list_live_files(D)]

    def list_wanted(self, *names: str) -> list[str]:
        """Return the files that belong on the disk for the list of files, and for the files named."""
        names = (*names, *self.list_names())
        return sorted([*names, *(get_index_path(Path(name)).name for name in names)])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def build_event(user: str, number: int) -> Interaction:
    """Build an event; every third one lacks all that may be missing."""
    whole = number % 3 != 0
    return Interaction(
        user_id=user,
        session_id=f"session \"{number}\" 'é' \u2028",
        item_id=f"item\\{number}" if whole else None,
        event_type="Watch",
        event_value=0.1 + number if whole else None,
        sent_at=1e9 + number / 7,
        event_id=f"id {number}" if whole else None,
        properties={"DEVICE": "tv\n\t☃", "N": number, "X": 0.1 * number, "B": True, "NONE": None} if whole else {},
    )


def test_events_come_back_as_they_were_sent_from_files_and_stream(world: World) -> None:
    for round_ in range(3):
        world.send("u", "v", "w")
        assert world.read() == world.sent
        world.compact()
        assert world.read() == world.sent
        assert list(world.store.iter_interactions(D)) == []
        assert len(world.list_names()) == round_ + 1
    world.send("u")
    with world.write() as writer:
        writer.merge_small_files()
    assert len(world.list_names()) == 1
    assert world.read() == world.sent


def test_reading_goes_on_after_a_position_wherever_the_event_stands_now(world: World) -> None:
    world.send("u", "v", "w")
    positions = [position for position, _ in iter_live_events_after(world.store, world.artifacts, D, START)]
    world.compact()
    world.send("x", "y")
    world.compact()
    world.send("z")
    for number, position in enumerate(positions):
        rest = iter_live_events_after(world.store, world.artifacts, D, position)
        assert [event for _, event in rest] == world.sent[number + 1 :]


def test_a_reader_meets_each_event_once_while_they_move(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two events that it reads, more arrive, move to files, are merged, and the old files vanish."""
    monkeypatch.setattr(live_events, "PAGE", 2)
    for moment in range(0, 12, 2):
        fresh = World(world.artifacts._root / str(moment))
        fresh.send("a", "b", "c")
        fresh.compact()
        fresh.send("d", "e", "f", "g", "h")
        found = []
        for number, event in enumerate(iter_live_events(fresh.store, fresh.artifacts, D)):
            found.append(event)
            if number == moment:
                fresh.send("x")
                with fresh.write() as writer:
                    writer.compact_stream()
                    writer.merge_small_files()
                    fresh.now += live_files.KEEP_SECONDS + 1
                    writer.remove_garbage()
        assert found == fresh.sent


def test_files_of_many_row_groups_keep_the_order(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads of DuckDB write and read them."""
    monkeypatch.setattr(live_files, "ROW_GROUP", 2048)
    events = [build_event(f"u{number % 7}", number) for number in range(12_000)]
    for start in (0, 6_000):
        world.store.append_interactions(D, events[start : start + 6_000], invocation=str(start))
        world.compact()
    with world.write() as writer:
        writer.merge_small_files()
    (name,) = world.list_names()
    groups = duckdb.sql(
        f"SELECT count(DISTINCT row_group_id) FROM parquet_metadata('{world.artifacts.get_live_folder(D) / name}')"
    )
    assert groups.fetchall()[0][0] > 3
    assert world.read() == events


def test_small_files_are_merged_so_that_few_are_left(world: World) -> None:
    for _ in range(17):
        world.send("u", "v")
        with world.write() as writer:
            writer.compact_stream()
            writer.merge_small_files()
            writer.remove_garbage()
    assert len(world.list_names()) <= 5
    assert world.read() == world.sent


def test_a_file_is_rewritten_without_some_rows_and_may_lose_all(world: World) -> None:
    world.send("u", "v")
    world.compact()
    world.send("u")
    world.compact()
    with world.write() as writer:
        for file in writer.list_files():
            writer.rewrite_file(file, "user_id <> 'u'")
    assert [one.user_id for one in world.read()] == ["v"]
    assert [file.events for file in world.store.list_live_files(D)] == [1, 0]


def test_replaced_files_stay_for_a_while_and_those_of_dead_writers_do_not(world: World) -> None:
    for _ in range(2):
        world.send("u")
        world.compact()
    old = world.list_names()
    (world.artifacts.get_live_folder(D) / "dead.parquet").write_bytes(b"")
    (world.artifacts.create_workspace(D) / "live-dead").mkdir()
    with world.write() as writer:
        writer.merge_small_files()
        writer.remove_garbage()
        assert world.list_disk() == world.list_wanted(*old)
        world.now += live_files.KEEP_SECONDS + 1
        writer.remove_garbage()
    assert world.list_disk() == world.list_wanted()
    assert world.store.list_superseded_files(D) == []
    assert list(world.artifacts.create_workspace(D).iterdir()) == []


def test_a_writer_that_was_thought_dead_changes_nothing(world: World) -> None:
    world.send("u")
    commit = world.store.commit_live_file

    def overtake(cut: StreamCut, file: LiveFile) -> bool:
        with world.write() as other:
            other.remove_garbage()
        return commit(cut, file)

    world.store.commit_live_file = overtake  # type: ignore[method-assign]
    with world.write() as slow, pytest.raises(WriterReplaced):
        slow.compact_stream()
    assert (world.read(), world.list_names(), world.list_disk()) == (world.sent, [], [])


@pytest.mark.parametrize("harm", ["removed", "cut short", "changed"])
def test_a_damaged_file_is_named(world: World, harm: str) -> None:
    world.send("u")
    world.compact()
    (name,) = world.list_names()
    path = world.artifacts.get_live_folder(D) / name
    whole = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] if harm == "cut short" else whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    with pytest.raises(ArtifactDamaged, match=name):
        world.read()


def test_live_events_of_deleted_datasets_are_removed(world: World) -> None:
    world.send("u")
    world.compact()
    world.store.create(Record(arn=D, kind="dataset", created=1.0, updated=1.0, status="ACTIVE"), invocation="1")
    remove_orphans(world.store, world.artifacts, memory_mb=256, on_step=lambda: None)
    assert world.read() == world.sent
    record = world.store.get(D)
    assert record is not None
    world.store.clear_dataset(D)
    world.store.remove(record)
    remove_orphans(world.store, world.artifacts, memory_mb=256, on_step=lambda: None)
    assert not world.artifacts.get_live_folder(D).exists()


def test_a_deletion_of_the_dataset_removes_its_files(world: World) -> None:
    world.send("u")
    world.compact()
    world.artifacts.discard_artifact(D)
    assert not world.artifacts.get_live_folder(D).exists()


class Killed(BaseException):
    pass


class Killer:
    """Kills a writer at one execution of a line of its module: from then on it runs no line more."""

    def __init__(self, line: int = 0, execution: int = 0) -> None:
        self._line, self._execution = line, execution
        self._killed = False
        self.executions: Counter[int] = Counter()

    def __enter__(self) -> Killer:
        sys.settrace(self._enter_function)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter_function(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._count_line if frame.f_code.co_filename == live_files.__file__ else None

    def _count_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.executions[frame.f_lineno] += 1
            self._killed |= frame.f_lineno == self._line and self.executions[self._line] == self._execution
            if self._killed:
                raise Killed
        return self._count_line


def run_writer(world: World, killer: Killer) -> None:
    world.send("u", "v")
    world.compact()
    world.send("w", "x")
    with killer, world.write() as writer:
        writer.remove_garbage()
        writer.compact_stream()
        writer.restore_indexes()
        writer.sweep_moved_generations()
        writer.merge_small_files()
        writer.remove_garbage()


@pytest.mark.parametrize("stride", [12, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_kill_at_any_line_loses_and_repeats_nothing(tmp_path: Path, stride: int) -> None:
    alive = Killer()
    run_writer(World(tmp_path / "alive"), alive)
    kills = sorted({(line, place) for line, times in alive.executions.items() for place in (1, times)})
    assert len(kills) > 100
    for line, execution in kills[::stride]:
        world = World(tmp_path / f"{line} {execution}")
        with pytest.raises(Killed):
            run_writer(world, Killer(line, execution))
        assert world.read() == world.sent
        world.send("y")
        world.now += live_files.KEEP_SECONDS + 1
        with world.write() as writer:
            writer.compact_stream()
            assert list(world.store.iter_interactions(D)) == []
            writer.sweep_moved_generations()
            writer.merge_small_files()
            world.now += live_files.KEEP_SECONDS + 1
            writer.remove_garbage()
        assert world.read() == world.sent
        assert world.store.list_unswept_generations(D) == []
        assert [world.store.get_recent_interactions(D, user).parts[0][1] for user in "uvwxy"] == [[]] * 5
        assert world.list_disk() == world.list_wanted()
        assert list(world.artifacts.create_workspace(D).iterdir()) == []
