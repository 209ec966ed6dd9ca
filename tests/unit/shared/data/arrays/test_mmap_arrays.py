"""Arrays and strings in one file: what was written is read, also when the file is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.data.arrays.mmap_arrays import ArrayFile, ArrayFileWriter, MappedStrings


def test_what_was_written_is_read_though_the_file_is_gone(tmp_path: Path) -> None:
    with ArrayFileWriter(tmp_path / "p") as packing:
        packing.about = {"schema": "é"}
        packing.add_array("flags", np.array([True, False, True]))
        packing.add_pieces("numbers", np.int64, (np.arange(n) for n in (3, 0, 2)))
        packing.add_array("none", np.zeros(0, np.float32))
        assert packing.add_strings("names", [["a", "é"], [], ["日"]]) == 3
    packed = ArrayFile.open(tmp_path / "p")
    (tmp_path / "p").unlink()
    assert packed.about == {"schema": "é"}
    assert packed.get_array("flags").tolist() == [True, False, True]
    assert packed.get_array("numbers").tolist() == [0, 1, 2, 0, 1]
    assert packed.get_array("none").dtype == np.float32
    assert list(packed.get_strings("names")) == ["a", "é", "日"]
    assert ("none" in packed, "some" in packed) == (True, False)
    with pytest.raises(ValueError, match="read-only"):
        packed.get_array("flags")[0] = False


def texts(folder: Path, names: list[str]) -> MappedStrings:
    with ArrayFileWriter(folder / "p") as packing:
        packing.add_strings("names", [names])
    return ArrayFile.open(folder / "p").get_strings("names")


@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), max_size=40), st.text(max_size=4))
def test_a_sorted_string_is_found(tmp_path_factory: pytest.TempPathFactory, names: set[str], other: str) -> None:
    found = texts(tmp_path_factory.mktemp("p"), sorted(names))
    assert [found.find(name) for name in sorted(names)] == list(range(len(names)))
    assert [found[number] for number in range(len(found))] == sorted(names)
    assert (found.find(other) is None) == (other not in names)


def test_half_a_character_is_nowhere(tmp_path: Path) -> None:
    assert texts(tmp_path, ["a"]).find("\ud800") is None
