"""Generated CSV files: tables come back as they were written, and errors are found at their lines."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.data.csv import csv_errors
from shared.data.csv.csv_import import ImportFailed
from tests.unit.shared.data.csv.importer import HEADER, USERS, Importer

LETTERS = st.sampled_from("\",\\\n\r;|\t '#aé日👩0")
VALUE = st.text(LETTERS | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


def written(value: str, style: Sequence[str]) -> str:
    """A value in quotes, each inner quote by the next of the styles: doubled or after a backslash."""
    parts = value.replace("\\", "\\\\").split('"')
    out = parts[0]
    for n, part in enumerate(parts[1:]):
        out += style[n % len(style)] + part
    return f'"{out}"'


@given(
    values=st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    style=st.lists(st.sampled_from(['""', '\\"']), min_size=1, max_size=5),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\n\n"]), min_size=1, max_size=3),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_a_quoted_table_comes_back_as_it_was(
    importer: Importer, values: list[tuple[str, str]], style: list[str], ends: list[str]
) -> None:
    content = "USER_ID,NOTE\n" + "".join(
        f"{written(user, style)},{written(note, style)}{ends[n % len(ends)]}" for n, (user, note) in enumerate(values)
    )
    assert sorted(importer.rows(content, schema=USERS)) == sorted(values)


PLAIN = VALUE.filter(lambda value: "\\" not in value)


@given(
    values=st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=8, unique_by=lambda row: row[0]),
    end=st.sampled_from(["\n", "\r\n"]),
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_what_pythons_csv_writes_comes_back_as_it_was(
    importer: Importer, values: list[tuple[str, str]], end: str
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("USER_ID", "NOTE"), *values])
    assert sorted(importer.rows(out.getvalue().encode(), schema=USERS)) == sorted(values)


ROW = st.sampled_from(
    ["a,1,2,x,\n", '"a","1",2,"x",3\n', 'a,1,2,"x\ny",\n', 'a,1,2,"x\r\n\r\n""y""",\n', "\n", 'a,1,2,5" x,\n',
     'a,"1, 2",2,"x\n",1.5\n', "a,1\n", "a,1,2,x,3,4\n", 'a,1,2,"x\n"y,\n']
)  # fmt: skip
BAD = st.sampled_from(
    [("{},1,2,x,\n", "USER_ID", ""), ('a,{},2,"x\n\ny",\n', "ITEM_ID", '"' + "x" * 257 + '"'),
     ('a,"1\n2",{},x,\n', "TIMESTAMP", "1.5"), ('"a\n",1,2,{},\n', "EVENT_TYPE", '""'),
     ("a,1,2,x,{}\n", "EVENT_VALUE", "inf")]
)  # fmt: skip


@given(before=st.lists(ROW, max_size=12), bad=BAD, after=st.lists(ROW, max_size=12),
       mark=st.sampled_from(["", "\ufeff"]), backslash=st.booleans())  # fmt: skip
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_bad_cell_is_found_at_its_line_wherever_it_stands(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, before: list[str], bad: tuple[str, str, str],
    after: list[str], mark: str, backslash: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(csv_errors, "_MAX_SHOWN", 100)
    monkeypatch.setattr(csv_errors, "MAX_REASON_CHARACTERS", 100_000)
    if backslash:
        before = [*before, 'a,1,2,"\\"",\n']
    row, column, value = bad
    beginning = mark + HEADER + "".join(before)
    with pytest.raises(ImportFailed) as caught:
        importer.run((beginning + row.format(value) + "".join(after)).encode())
    message = str(caught.value)
    line = beginning.count("\n") + 1
    assert re.findall(r"line (\d+), column (\w+)", message) == [(str(line), column)]
    broken = [
        beginning[: beginning.index(HEADER) + len(HEADER)].count("\n")
        + 1
        + "".join([*before, row, *after][:n]).count("\n")
        for n, each in enumerate([*before, row, *after])
        if each in ("a,1\n", "a,1,2,x,3,4\n", 'a,1,2,"x\n"y,\n')
    ]
    assert [int(found) for found in re.findall(r"line (\d+): the row", message)] == broken


@given(content=st.lists(st.sampled_from(['"', ",", "\n", "\r", "\\", "a", " ", "é", "1"]), max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_whatever_the_file_it_is_imported_or_refused(importer: Importer, content: list[str]) -> None:
    shutil.rmtree(importer.target.parent)
    importer.target.parent.mkdir()
    try:
        importer.rows("USER_ID,NOTE\n" + "".join(content), schema=USERS)
    except ImportFailed:
        assert os.listdir(importer.target.parent) == []
