"""Ids, mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.data.arrays.histories import save_names
from shared.data.arrays.id_index import IdIndex

NAMES = sorted(["", "a", "aa", "b", "é", "名", "😀", "z" * 300])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_names(tmp_path, user_ids=[], item_ids=NAMES, event_type_names=[])
    return tmp_path


def test_they_are_a_sorted_sequence(folder: Path) -> None:
    ids = IdIndex(folder, "item")
    assert list(ids) == NAMES
    assert [ids[place] for place in range(-1, len(ids))] == [NAMES[-1], *NAMES]
    assert ids[2:5] == NAMES[2:5]
    assert list(reversed(ids)) == NAMES[::-1]
    for beyond in (len(ids), -len(ids) - 1):
        with pytest.raises(IndexError):
            ids[beyond]


def test_they_are_found(folder: Path) -> None:
    ids = IdIndex(folder, "item")
    assert [ids.find(name) for name in NAMES] == list(range(len(NAMES)))
    for unknown in ("A", "aaa", "\x00", "zz", "\U0010ffff"):
        assert ids.find(unknown) is None
        assert unknown not in ids
    assert "é" in ids


def test_there_may_be_none(folder: Path) -> None:
    ids = IdIndex(folder, "user")
    assert (list(ids), len(ids), ids.find("a")) == ([], 0, None)


@pytest.mark.parametrize("name", ["item_ids.bin", "item_id_ends.npy"])
def test_files_that_do_not_belong_together_are_refused(folder: Path, name: str) -> None:
    path = folder / name
    if path.suffix == ".bin":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        np.save(path, np.load(path)[:-1])
    with pytest.raises(ValueError, match="does not hold the ids that its ends describe"):
        IdIndex(folder, "item")
