"""Prepare the training data of a solution version: read Parquet once into a folder, which training processes map.

    data/
      histories/          see ``histories``
      items/, users/, contexts/   see ``features``; absent where there are none
      item_created.npy    int64[I]; absent where Items has no CREATION_TIMESTAMP
      item_expires.npy, item_repeats.npy   int64[I], float64[I]; absent where Actions has no such column
      item_impressions.npy   int64[I]; absent without a column IMPRESSION
      event_weights.npy   float32[E]; absent where all events have the same weight
      rewards/            see ``rewards``; absent without an optimization objective
      item_texts          see ``item_texts``; absent for a recipe that reads no texts

The folder appears whole or not at all, so a second attempt, or another trial of the same version, only opens it.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.data import schemas
from shared.data.arrays import npy_files
from shared.data.arrays.features import Features
from shared.data.arrays.histories import DataRefused, Histories, TooLittleData, save_names, select_trained_users
from shared.data.arrays.item_texts import ItemTexts, select_text_columns
from shared.data.duckdb_session import DuckDBSession
from shared.data.schemas import DatasetSchema, Field
from shared.data.training import event_tables as events
from shared.data.training import featurize
from shared.data.training.event_tables import EventParameters, EventSelection
from shared.data.training.feature_rows import DatasetRows
from shared.data.training.rewards import Objective, Rewards
from shared.storage.artifacts import sync_to_disk

ACTION_INTERACTIONS = "ACTION_INTERACTIONS"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingData:
    """Histories of U users over I items, E events in all, and features of users, items and events."""

    histories: Histories
    items: Features | None = None
    """R = I, in the order of ``histories.item_ids``. None, here and below: there is no dataset or no usable column,
    or the recipe uses no features."""
    users: Features | None = None
    """R = U, in the order of ``histories.user_ids``."""
    contexts: Features | None = None
    """R = E, in the order of ``histories``: the columns of Interactions whose names AWS does not reserve."""
    item_created: npt.NDArray[np.int64] | None = None
    """[I] CREATION_TIMESTAMP in seconds since the epoch, -1 where unknown; None without such a column."""
    item_expires: npt.NDArray[np.int64] | None = None
    """[I] EXPIRATION_TIMESTAMP of actions, as ``item_created``."""
    item_repeats: npt.NDArray[np.float64] | None = None
    """[I] REPEAT_FREQUENCY of actions in days, NaN where unknown; None without such a column."""
    item_impressions: npt.NDArray[np.int64] | None = None
    """[I] The number of events in which the item was shown and another one chosen: IMPRESSION. None without such a
    column, or for a recipe that does not use it."""
    event_weights: npt.NDArray[np.float32] | None = None
    """[E] The weight of each event by its type, from an eventsConfig; None without one: all weights are the same."""
    rewards: Rewards | None = None
    """In the order of ``histories.item_ids``; None without an optimization objective."""
    item_texts: ItemTexts | None = None
    """In the order of ``histories.item_ids``; None for a recipe that reads no texts."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map a folder of ``prepare_training_data``. Raises OSError and ValueError where it is missing or damaged."""
        created, expires, repeats, impressions, weights = (
            npy_files.map_npy(path) if (path := folder / f"{name}.npy").exists() else None
            for name in ("item_created", "item_expires", "item_repeats", "item_impressions", "event_weights")
        )
        return cls(
            histories=Histories.open(folder / "histories"),
            item_created=created,
            item_expires=expires,
            item_repeats=repeats,
            item_impressions=impressions,
            event_weights=weights,
            rewards=Rewards.open(folder / "rewards") if (folder / "rewards").exists() else None,
            item_texts=ItemTexts.open(folder / "item_texts") if (folder / "item_texts").exists() else None,
            **{
                name: Features.open(folder / name)
                for name in ("items", "users", "contexts")
                if (folder / name).exists()
            },
        )


@dataclass(frozen=True, kw_only=True)
class DatasetFiles:
    """A dataset: Parquet files with the columns of its schema, the older ones first.

    Files may have different columns, and may lack some of the schema's.
    """

    files: Sequence[Path]
    schema: str
    """Avro JSON, as given to CreateSchema."""
    domain: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingSources:
    """The datasets and settings from which a solution version's training data is prepared."""

    interactions: DatasetFiles | None
    """None where there are none, for a recipe that trains without."""
    items: DatasetFiles | None = None
    users: DatasetFiles | None = None
    excluded: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Dataset type, as in an ARN -> excluded columns: trainingDataConfig.excludedDatasetColumns."""
    event_type: str | None = None
    event_value_threshold: float | None = None
    events: Sequence[EventParameters] = ()
    """solutionConfig.eventsConfig: events that meet none of these are left out. They replace ``event_type`` and
    ``event_value_threshold``."""
    min_percentile: float = 0.0
    max_percentile: float = 1.0
    metadata: bool = False
    """True for a recipe that trains on columns besides user, item and time."""
    impressions: bool = False
    """True for a recipe that learns from impressions."""
    all_items: bool = False
    """True where the catalogue is every row of Items, not only the items with interactions."""
    objective: Objective | None = None
    texts: bool = False
    """True for a recipe that reads the texts of items."""
    needs_interactions: bool = True
    """False for a recipe without a minimum of interactions."""


def prepare_training_data(
    folder: Path,
    sources: TrainingSources,
    *,
    memory_mb: int,
    on_step: Callable[[], None] = lambda: None,
    check_sources: Callable[[], None] = lambda: None,
) -> TrainingData:
    """Read the sources into ``folder``, or open the folder of an earlier call; it appears whole or not at all.

    ``memory_mb`` limits DuckDB's memory. ``on_step`` is called at least every 0.5 s; an exception of it ends the
    reading within 2 s and is raised. ``check_sources`` is called when all has been read, and may raise so that the
    folder does not appear. Raises DataRefused.
    """
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        scratch = draft / "scratch"
        scratch.mkdir(parents=True)
        try:
            with DuckDBSession(memory_mb=memory_mb, scratch=scratch, on_step=on_step) as database:
                _write_parts(draft, sources, database)
            shutil.rmtree(scratch)
            for path in draft.rglob("*"):
                sync_to_disk(path)
                on_step()
            check_sources()
            draft.rename(folder)
            sync_to_disk(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return TrainingData.open(folder)


def _write_parts(folder: Path, sources: TrainingSources, database: DuckDBSession) -> None:
    if sources.interactions is None:
        events.create_empty_event_tables(database, sources.items.files if sources.items else ())
        _write_histories(folder / "histories", sources, database, events.count_events(database))
    else:
        _write_events(folder, sources.interactions, sources, database)
    if sources.objective is not None and (sources.items is None or not sources.items.files):
        raise DataRefused(
            f"The optimization objective needs the column {sources.objective.column} of an Items dataset: import one."
        )
    for table, ids in ((sources.items, "items"), (sources.users, "users")):
        if table is not None and table.files:
            _write_rows(folder, ids, table, sources, database)


def _write_events(folder: Path, interactions: DatasetFiles, sources: TrainingSources, database: DuckDBSession) -> None:
    """Write the histories, and all else that is about events."""
    schema = _parse_schema_of(interactions)
    excluded = sources.excluded.get(schema.dataset_type, ())
    files = interactions.files
    if not files:
        raise TooLittleData("The dataset group has no interactions: import some, or send events.")
    contexts = featurize.select_fields(schema, excluded, database.list_columns(files)) if sources.metadata else []
    events.create_event_tables(
        database,
        EventSelection(
            files=files,
            item="ACTION_ID" if schema.dataset_type == ACTION_INTERACTIONS else "ITEM_ID",
            parameters=sources.events
            or [EventParameters(event_type=sources.event_type, value_threshold=sources.event_value_threshold)],
            contexts=contexts,
        ),
        catalogue=sources.items.files if sources.items and sources.all_items else (),
        metadata_columns=sum(each.name not in excluded for each in schema.metadata),
    )
    lengths = events.count_events(database)
    _write_histories(folder / "histories", sources, database, lengths)
    if sources.events:
        _write_event_weights(folder / "event_weights.npy", database, lengths)
    if sources.impressions and "IMPRESSION" in database.list_columns(files) - set(excluded):
        np.save(folder / "item_impressions.npy", events.count_impressions(database, files))
    _write_contexts(folder / "contexts", contexts, database, lengths)


def _write_histories(
    folder: Path, sources: TrainingSources, database: DuckDBSession, lengths: npt.NDArray[np.int64]
) -> None:
    in_training = _select_users(sources, lengths)
    folder.mkdir()
    save_names(
        folder,
        user_ids=events.list_ids(database, "users"),
        item_ids=events.list_ids(database, "items"),
        event_type_names=events.list_ids(database, "types"),
    )
    np.save(folder / "in_training.npy", in_training)
    np.save(folder / "offsets.npy", np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
    columns = {"items": ("item", np.int32), "timestamps": ("time", np.int64), "event_types": ("type", np.int16)}
    with contextlib.ExitStack() as stack:
        writers = {
            column: stack.enter_context(npy_files.NpyWriter(folder / f"{name}.npy", dtype))
            for name, (column, dtype) in columns.items()
        }
        for block in events.iter_blocks(database, lengths, ", ".join(writers)):
            for column, writer in writers.items():
                writer.append(block[column])


def _select_users(sources: TrainingSources, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool[U]: the users that models train on. Raises TooLittleData."""
    if sources.interactions is None or not sources.needs_interactions:
        return np.ones(len(lengths), np.bool_)
    return select_trained_users(
        lengths,
        min_percentile=sources.min_percentile,
        max_percentile=sources.max_percentile,
        event_type=sources.event_type,
        # AWS: "There is no minimum requirement for action interactions data."
        skip_minimum=_parse_schema_of(sources.interactions).dataset_type == ACTION_INTERACTIONS,
    )


def _write_event_weights(path: Path, database: DuckDBSession, lengths: npt.NDArray[np.int64]) -> None:
    ((heaviest,),) = database.fetch_rows("SELECT max(weight) FROM events")
    if not heaviest:
        raise TooLittleData("No event has a weight above 0: give one to an event type of eventsConfig that has events.")
    with npy_files.NpyWriter(path, np.float32) as weights:
        for block in events.iter_blocks(database, lengths, "weight"):
            weights.append(block["weight"])


def _write_contexts(
    folder: Path, fields: Sequence[Field], database: DuckDBSession, lengths: npt.NDArray[np.int64]
) -> None:
    described = events.encode_contexts(database, fields)
    if described:
        blocks = events.iter_blocks(database, lengths, ", ".join(described))
        featurize.write_features(
            folder,
            list(described.values()),
            ([each.find_bags(block[column]) for column, each in described.items()] for block in blocks),
        )


def _write_rows(folder: Path, ids: str, table: DatasetFiles, sources: TrainingSources, database: DuckDBSession) -> None:
    """Write features of the rows of Items or Users, and item times and rewards, in the order of the table ``ids``."""
    schema = _parse_schema_of(table)
    excluded = sources.excluded.get(schema.dataset_type, ())
    present = database.list_columns(table.files)
    rows = DatasetRows.create_table(database, schema, table.files, ids)
    if "CREATION_TIMESTAMP" in present and "CREATION_TIMESTAMP" not in excluded and ids == "items":
        np.save(folder / "item_created.npy", rows.read_times("CREATION_TIMESTAMP"))
    if schema.dataset_type == "ACTIONS":
        _write_action_rules(folder, rows, present)
    if sources.objective is not None and ids == "items":
        field = schema.find_column(sources.objective.column)
        if field is None or not field.numeric or field.name not in present:
            raise DataRefused(f"The optimization objective needs {sources.objective.column} to be a column of numbers.")
        Rewards.from_numbers(rows.read_numbers(field.name), sources.objective.sensitivity).save(folder / "rewards")
    if sources.texts and ids == "items":
        rows.write_texts(select_text_columns(schema, excluded, present), folder / "item_texts")
    if sources.metadata:
        rows.write_features(featurize.select_fields(schema, excluded, present), folder / ids)


def _write_action_rules(folder: Path, rows: DatasetRows, present: Collection[str]) -> None:
    """Write the columns that tell when actions may be shown. Models do not train on them, so none can be excluded."""
    for column in ("EXPIRATION_TIMESTAMP", "ACTION_EXPIRATION_TIMESTAMP"):
        if column in present:
            np.save(folder / "item_expires.npy", rows.read_times(column))
    if "REPEAT_FREQUENCY" in present:
        np.save(folder / "item_repeats.npy", rows.read_numbers("REPEAT_FREQUENCY"))


def _parse_schema_of(table: DatasetFiles) -> DatasetSchema:
    return schemas.parse_schema(table.schema, domain=table.domain)
