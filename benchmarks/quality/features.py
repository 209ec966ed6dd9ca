"""What recency_mask, item metadata and cold start are worth: each on and off, on data where it should matter."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import numpy.typing as npt

from benchmarks.quality import data, made_up, ours, peers, protocols
from benchmarks.quality.protocols import Answers, Query, Task
from benchmarks.quality.runs import Wish
from shared.data.arrays.histories import Histories

COLD_SHARE = 0.1
CHANCES = 20
"""Random orders whose mean is chance."""

SEVERAL = "|"
"""Separates the values of one cell."""


def recency_mask(wish: Wish) -> None:
    """On made-up data whose fashion drifts, for the users who come last."""
    print("\n## recency_mask, made-up data with drifting popularity, the newest users, raw\n")
    tasks = []
    for seed in range(wish.seeds):
        histories, newest = made_up.drifting(seed)
        task = protocols.h10(histories)
        tasks.append(replace(task, queries=[task.queries[user] for user in newest]))
    _compare(
        {
            "popularity of all time": lambda seed: _popularity(tasks[seed]),
            "off": lambda seed: _trained(tasks[seed], wish, seed, {"recency_mask": "false"}),
            "on": lambda seed: _trained(tasks[seed], wish, seed, {"recency_mask": "true"}),
        },
        tasks,
        ("NDCG@10", "NDCG@25", "HR@10"),
    )


def metadata(wish: Wish) -> None:
    """On made-up shelves, and on the small MovieLens, where most films are rarely seen."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {"made-up shelves": Path(scratch), "ml-latest-small": wish.folder / "ml-latest-small"}
        histories = {
            "made-up shelves": made_up.shelves(Path(scratch)),
            "ml-latest-small": data.read(folders["ml-latest-small"]),
        }
        for name, folder in folders.items():
            print(f"\n## metadata, {name}, protocol h10, raw\n")
            tasks = [protocols.h10(histories[name])] * wish.seeds
            _compare(_on_and_off(tasks, wish, "aws-hrnn-metadata", folder / "items.csv"), tasks, ("NDCG@10", "NDCG@25"))


def coldstart(wish: Wish) -> None:
    """A tenth of the items loses all its interactions; these items alone are ranked, for users who had some of them."""
    for name in ("ml-100k", "ml-latest-small"):
        _coldstart(name, wish)


def _coldstart(name: str, wish: Wish) -> None:
    print(f"\n## coldstart, {name}: the {COLD_SHARE:.0%} of the items that lost all interactions, among themselves\n")
    histories = data.read(wish.folder / name)
    items_csv = wish.folder / name / "items.csv"
    splits = [cold_split(histories, seed) for seed in range(wish.seeds)]
    tasks = [task for task, _ in splits]
    models: dict[str, Callable[[int], Answers]] = {
        "chance": lambda seed: _chance(tasks[seed], seed),
        "popularity, as trained on": lambda seed: _popularity(tasks[seed]),
        "items like the user's, by their metadata": lambda seed: alike(tasks[seed], items_csv),
        "popularity, had it been known": lambda _: _counts(histories),
        **_on_and_off(tasks, wish, "aws-hrnn-coldstart", items_csv),
    }

    def among_cold(fitted: Callable[[int], Answers]) -> Callable[[int], Answers]:
        return lambda seed: only_these(fitted(seed), splits[seed][1])

    _compare({model: among_cold(fitted) for model, fitted in models.items()}, tasks, ("NDCG@10", "NDCG@25", "HR@10"))


FIGURES: Mapping[str, Callable[[Wish], None]] = {
    "recency_mask": recency_mask,
    "metadata": metadata,
    "coldstart": coldstart,
}


def show(names: Sequence[str], wish: Wish) -> None:
    for name in names:
        FIGURES[name](wish)


def cold_split(histories: Histories, seed: int) -> tuple[Task, npt.NDArray[np.bool_]]:
    """Everything but the interactions with the cold items is to learn from; bool[I] says which items are cold.

    A user is asked for who interacted with a cold item and with another; the input are all the others, the moment of
    the request that of the last of them, and all the user's cold items are to be found.
    """
    items = len(histories.item_ids)
    cold_I = np.zeros(items, np.bool_)
    cold_I[np.random.default_rng(seed).choice(items, size=max(1, round(COLD_SHARE * items)), replace=False)] = True
    hidden_E = cold_I[histories.items]
    training = data.only(histories, ~hidden_E)
    queries = []
    for user in range(len(histories.user_ids)):
        events = slice(histories.offsets[user], histories.offsets[user + 1])
        known = slice(training.offsets[user], training.offsets[user + 1])
        wanted = histories.items[events][hidden_E[events]]
        if len(wanted) and known.stop > known.start:
            times = training.timestamps[known]
            queries.append(Query(items=training.items[known], timestamps=times, now=float(times[-1]), wanted=wanted))
    return Task(training=training, users=np.flatnonzero(training.lengths), queries=queries), cold_I


def only_these(answers: Answers, wanted_I: npt.NDArray[np.bool_]) -> Answers:
    """The same, where no other item is recommended."""
    return lambda queries: (np.where(wanted_I, scores_I, -np.inf) for scores_I in answers(queries))


def alike(task: Task, items_csv: Path) -> Answers:
    """Cosine between an item's values (every column of items.csv but TITLE) and those of the user's items."""
    number = {item_id: place for place, item_id in enumerate(task.training.item_ids)}
    values: dict[str, int] = {}
    places: list[tuple[int, int]] = []
    with items_csv.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["ITEM_ID"] in number:
                for column in row.keys() - {"ITEM_ID", "TITLE"}:
                    for value in row[column].split(SEVERAL):
                        feature = values.setdefault(f"{column}={value}", len(values))
                        places.append((number[row["ITEM_ID"]], feature))
    features_IF = np.zeros((len(number), max(len(values), 1)), np.float32)
    features_IF[tuple(np.array(places).T)] = 1
    features_IF /= np.maximum(np.linalg.norm(features_IF, axis=1, keepdims=True), 1e-9)
    return peers.answering(lambda items_T: features_IF @ features_IF[items_T].sum(0))


def _on_and_off(tasks: Sequence[Task], wish: Wish, recipe: str, items_csv: Path) -> dict[str, Callable[[int], Answers]]:
    def on(seed: int) -> Answers:
        setting = replace(wish.setting, recipe=recipe)
        return ours.train(tasks[seed], setting, seed, items_csv=items_csv).answers

    return {"off (aws-hrnn)": lambda seed: _trained(tasks[seed], wish, seed, {}), f"on ({recipe})": on}


def _trained(task: Task, wish: Wish, seed: int, parameters: Mapping[str, str]) -> Answers:
    setting = replace(wish.setting, recipe="aws-hrnn", parameters={**wish.setting.parameters, **parameters})
    return ours.train(task, setting, seed).answers


def _popularity(task: Task) -> Answers:
    return _counts(task.training)


def _counts(histories: Histories) -> Answers:
    counts_I = np.bincount(histories.items, minlength=len(histories.item_ids))
    return peers.answering(lambda _: counts_I)


def _chance(task: Task, seed: int) -> Answers:
    rng = np.random.default_rng(seed)
    return peers.answering(lambda _: rng.random(len(task.training.item_ids)))


def _compare(models: Mapping[str, Callable[[int], Answers]], tasks: Sequence[Task], columns: Sequence[str]) -> None:
    print(f"| model | {' | '.join(columns)} | seeds |")
    print("|---" * (len(columns) + 2) + "|")
    for model, fitted in models.items():
        try:
            runs = [_figures(fitted, model, tasks, seed) for seed in range(len(tasks))]
        except ours.NotOffered as reason:
            print(f"| {model}: {reason} |{' |' * (len(columns) + 1)}")
            continue
        cells = [_cell([run[column] for run in runs]) for column in columns]
        print(f"| {model} | {' | '.join(cells)} | {len(runs)} |", flush=True)


def _figures(fitted: Callable[[int], Answers], model: str, tasks: Sequence[Task], seed: int) -> Mapping[str, float]:
    times = CHANCES if model == "chance" else 1
    answers = fitted(seed)
    runs = [protocols.measure(answers, tasks[seed].queries)["raw"] for _ in range(times)]
    return {column: mean(run[column] for run in runs) for column in protocols.COLUMNS}


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.4f} ±{stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"
