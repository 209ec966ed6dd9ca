"""``python -m benchmarks.quality asked NAME...``: what a client gets who trains on the past and asks today.

Our model beside the simple peers, under both protocols and with and without what a user has had. The columns are those
of a check through the service that asks GetRecommendations; here nothing but the networks runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.quality import data, runs
from benchmarks.quality.protocols import ASKED
from benchmarks.quality.runs import Row

VIEWS = ("raw", "unseen")
COLUMNS = ("NDCG@25", "MRR@25")

Cell = tuple[str, str, str]
CELLS: Sequence[Cell] = [(protocol, view, column) for protocol in ASKED for view in VIEWS for column in COLUMNS]
"""(protocol, view, column): one column of the table each."""


def show(name: str, wish: runs.Wish) -> None:
    """Raises NoData."""
    histories = data.read(data.folder_of(wish.folder, name))
    found = {
        model: {protocol: runs.row(model, histories, protocol, wish) for protocol in ASKED} for model in wish.models
    }
    print(f"\n## {name}, asked today\n")
    print(f"| model | {' | '.join(' '.join(cell) for cell in CELLS)} | train s |")
    print("|---" * (len(CELLS) + 2) + "|")
    for line in lines(found):
        print(line)


def lines(found: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """The rows of the table, ``found`` being model -> protocol -> row; at the end each of ours over the best peer."""
    peers = {model: of for model, of in found.items() if model not in runs.OURS}
    ours = {model: of for model, of in found.items() if model in runs.OURS}
    table = [
        f"| {_name(model, of)} | {' | '.join(_figure(_value(of, cell)) for cell in CELLS)} | {_seconds(of)} |"
        for model, of in found.items()
    ]
    if peers:
        for model, of in ours.items():
            ratios = " | ".join(_ratio(_value(of, cell), _best(peers, cell)) for cell in CELLS)
            table.append(f"| {model} / best peer | {ratios} | |")
    return table


def _best(peers: Mapping[str, Mapping[str, Row]], cell: Cell) -> tuple[str, float]:
    values = {model: _value(of, cell) or 0.0 for model, of in peers.items()}
    best = max(values, key=lambda model: values[model])
    return best, values[best]


def _ratio(value: float | None, best: tuple[str, float]) -> str:
    peer, theirs = best
    return "" if value is None or not theirs else f"{value / theirs:.3f} ({peer})"


def _value(of: Mapping[str, Row], cell: Cell) -> float | None:
    protocol, view, column = cell
    return of[protocol].mean(view, column)


def _name(model: str, of: Mapping[str, Row]) -> str:
    notes = {row.note for row in of.values() if row.note}
    return f"{model} ({'; '.join(sorted(notes))})" if notes else model


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _seconds(of: Mapping[str, Row]) -> str:
    return " + ".join(f"{row.seconds:.0f}" for row in of.values() if row.seconds is not None)
