"""Records as they were when a job first read them: a job that looks one up for every line asks the store once."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from shared.resources import ResourceReader
from shared.store import Record, Records


class PinnedRecords:
    """``shared.store.Records`` whose ``get`` returns the record that its first call found."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._find = cache(records.get)

    @classmethod
    def create_reader(cls, reader: ResourceReader) -> ResourceReader:
        return ResourceReader(cast(Records, cls(reader.records)), reader.settings)

    def get(self, arn: str) -> Record | None:
        return self._find(arn)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)
