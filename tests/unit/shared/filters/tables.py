"""Columns in memory, of rows that are written down one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from shared.filters.columns import InMemoryColumns, index_values
from tests.unit.shared.filters.examples import SCHEMAS

Row = Mapping[str, Any]
DTYPES = {"float": np.float32, "int": np.float64, "long": np.float64}


def table(rows: Sequence[Row | None]) -> InMemoryColumns:
    """Of the columns of Items, kept as an import keeps them: a float is one of 32 bits. None: there is no row."""
    cells = {name: [row.get(name) if row else None for row in rows] for name in SCHEMAS["ITEMS"]}
    fields = SCHEMAS["ITEMS"].values()
    return InMemoryColumns(
        present=np.array([row is not None for row in rows], np.bool_),
        numeric={
            each.name: np.array([math.nan if cell is None else cell for cell in cells[each.name]], DTYPES[each.type])
            for each in fields
            if each.type in DTYPES
        },
        textual={
            each.name: index_values(cells[each.name], categorical=each.categorical)
            for each in fields
            if each.type == "string"
        },
    )
