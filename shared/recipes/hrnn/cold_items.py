"""The cold items, by the hyperparameters of aws-hrnn-coldstart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from shared.data.arrays.histories import DataRefused
from shared.data.training.training_data import TrainingData

FEWEST, MOST = 100, 80_000
DAY_SECONDS = 86_400


def find_cold_items(data: TrainingData, parameters: Mapping[str, str], now: float) -> npt.NDArray[np.bool_]:
    """bool[I]: find items with fewer than cold_start_max_interactions, younger than cold_start_max_duration days.

    An item's age counts from its first interaction, or without any from its CREATION_TIMESTAMP, to ``now`` (seconds)
    or to the newest interaction of all (cold_start_relative_from). An item with neither has age 0. Raises DataRefused
    if there are not 100 to 80,000 of them, as AWS does.
    """
    histories = data.histories
    items = len(histories.item_ids)
    born_I = np.full(items, np.iinfo(np.int64).max)
    np.minimum.at(born_I, histories.items, histories.timestamps)
    counts_I = np.bincount(histories.items, minlength=items)
    if data.item_created is not None:
        born_I = np.where((counts_I == 0) & (data.item_created >= 0), data.item_created, born_I)
    since = float(histories.timestamps.max()) if parameters["cold_start_relative_from"] == "latestItem" else now
    young_I = since - born_I < float(parameters["cold_start_max_duration"]) * DAY_SECONDS
    cold_I = young_I & (counts_I < int(parameters["cold_start_max_interactions"]))
    if not FEWEST <= cold_I.sum() <= MOST:
        raise DataRefused(
            f"Dataset has {cold_I.sum()} cold items: aws-hrnn-coldstart needs {FEWEST} to {MOST:,}. An item is cold "
            f"with fewer than {parameters['cold_start_max_interactions']} interactions, the first of them less than "
            f"{parameters['cold_start_max_duration']} days before {parameters['cold_start_relative_from']}."
        )
    return cold_I
