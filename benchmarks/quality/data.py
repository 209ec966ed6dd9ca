"""Data sets as histories, straight from their CSV files: no service, no import, no least size.

A data set is a folder with interactions.csv or interactions.csv.gz (USER_ID, ITEM_ID, TIMESTAMP) and perhaps
items.csv and users.csv. Nothing is copied.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import Histories

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "data"
"""Where the data sets lie unless --data says otherwise."""
FILES = ("interactions.csv", "interactions.csv.gz")


class NoData(Exception):
    """The folder holds no interactions."""


def holds(folder: Path) -> bool:
    """Is this the folder of one data set?"""
    return any((folder / name).is_file() for name in FILES)


def folder_of(folder: Path, data_set: str) -> Path:
    """Where a data set lies: in the folder of all data sets, or in this folder itself, or where its name points."""
    return folder if holds(folder) and not holds(folder / data_set) else folder / data_set


def read(folder: Path) -> Histories:
    """Every event of the file, oldest first; events of one second keep the order of the file. Raises NoData."""
    file = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if file is None:
        raise NoData(f"{folder} holds neither interactions.csv nor interactions.csv.gz: say --data FOLDER")
    with duckdb.connect() as connection:
        columns = connection.execute(
            """SELECT USER_ID AS users, ITEM_ID AS items, TIMESTAMP::BIGINT AS times
               FROM read_csv($file, header = true, all_varchar = true, parallel = false)""",
            {"file": str(file)},
        ).fetchnumpy()
    user_ids, users = np.unique(columns["users"].astype(str), return_inverse=True)
    item_ids, items = np.unique(columns["items"].astype(str), return_inverse=True)
    return histories_of(users, items, columns["times"], user_ids=user_ids.tolist(), item_ids=item_ids.tolist())


def histories_of(
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    times: npt.NDArray[np.integer],
    *,
    user_ids: list[str],
    item_ids: list[str],
) -> Histories:
    """Events in any order, as numbers of users and items, as histories: sorted by user and time, stable."""
    order = np.lexsort((times, users))
    lengths = np.bincount(users, minlength=len(user_ids))
    return Histories(
        user_ids=user_ids,
        item_ids=item_ids,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=np.asarray(items)[order].astype(np.int32),
        timestamps=np.asarray(times)[order].astype(np.int64),
        event_types=np.full(len(order), -1, np.int16),
        event_type_names=[],
        in_training=np.ones(len(user_ids), np.bool_),
    )


def within_percentiles(histories: Histories, low: float, high: float) -> Histories:
    """The same, where only users with a length of history between these percentiles are trained and tested on."""
    least, most = np.quantile(histories.lengths, [low, high])
    return replace(histories, in_training=(histories.lengths >= least) & (histories.lengths <= most))


def only(histories: Histories, kept_E: npt.NDArray[np.bool_]) -> Histories:
    """The events kept, of the same users and over the same catalogue: a user may be left with none."""
    of_user = np.repeat(np.arange(len(histories.user_ids)), histories.lengths)
    return histories_of(
        of_user[kept_E],
        histories.items[kept_E],
        histories.timestamps[kept_E],
        user_ids=histories.user_ids,
        item_ids=histories.item_ids,
    )
