"""The quality of our model beside its peers: ``python -m benchmarks.quality``. See the README for what is printed.

python -m benchmarks.quality                       the tables of all data sets
python -m benchmarks.quality accept ml-100k        one target, the figure and the peers' beside it
python -m benchmarks.quality asked ml-100k         trained on the past and asked today, as a client does
python -m benchmarks.quality features              what recency_mask, metadata and coldstart are worth
python -m benchmarks.quality losses ml-100k        our network with other losses
python -m benchmarks.quality service               GetSolutionMetrics against the same split measured here
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.quality import data, guests, losses, ours, peers, runs
from benchmarks.quality.acceptance import LINES, PUBLISHED, verdicts
from benchmarks.quality.protocols import PROTOCOLS
from benchmarks.quality.tables import show

DATA_SETS = ("ml-100k", "ml-latest-small", "ml-1m-order")
GUEST = {"most_seconds": 900, "batch": 16}
SEEDS = 3


def main() -> None:
    options = _parser().parse_args()
    if options.what == "features":
        from benchmarks.quality import features

        features.show(options.names or list(features.FIGURES), _wish(options, (), {}))
    elif options.what == "service":
        from benchmarks.quality import service

        service.show(options.names or ["ml-100k"], _wish(options, (), {}))
    elif options.what == "losses":
        for name in options.names or ["ml-100k"]:
            _losses(name, options)
    elif options.what == "asked":
        from benchmarks.quality import asked

        wish = _wish(options, options.models or ["linear", *peers.PEERS], {})
        for name in _names(options):
            asked.show(name, wish if options.seeds else replace(wish, seeds=1))
    elif options.what == "accept":
        for name in options.names or list(LINES):
            _accept(name, options)
    else:
        for name in _names(options):
            _table(name, options)


def _names(options: argparse.Namespace) -> Sequence[str]:
    """The data sets: those named, or the one that --data is, or all."""
    if options.names:
        return options.names  # type: ignore[no-any-return]
    return [options.data.resolve().name] if data.holds(options.data) else DATA_SETS


def _table(name: str, options: argparse.Namespace) -> None:
    protocol = runs.protocol_of(name, options.protocol)
    # On ml-1m they take hours; ask for them by name.
    default = [model for model in runs.MODELS if not (model in guests.NETWORKS and name == "ml-1m-order")]
    wish = _wish(options, options.models or default, {})
    rows = runs.rows(name, protocol, wish)
    show(_title(name, protocol, wish), [*rows, *PUBLISHED.get((name, protocol), ())])


def _losses(name: str, options: argparse.Namespace) -> None:
    protocol = runs.protocol_of(name, options.protocol)
    wish = _wish(options, ["linear"], {})
    rows = [
        replace(row, model=loss)
        for loss in losses.NAMES
        for row in runs.rows(name, protocol, replace(wish, setting=replace(wish.setting, loss=loss)))
    ]
    show(_title(name, protocol, wish), rows)


def _accept(name: str, options: argparse.Namespace) -> None:
    line = LINES[name]
    models = options.models or [line.cell, *line.peers]
    wish = _wish(options, models, line.parameters)
    rows = [*runs.rows(line.data_set, line.protocol, wish), *PUBLISHED.get((line.data_set, line.protocol), ())]
    show(_title(line.data_set, line.protocol, wish), rows)
    mine = [row for row in rows if row.model in runs.OURS]
    print()
    for row in mine:
        for sentence in verdicts(line, row, [peer for peer in rows if peer not in mine]):
            print(f"{name}, {row.model}: {sentence}")


def _wish(options: argparse.Namespace, models: Sequence[str], parameters: Mapping[str, str]) -> runs.Wish:
    wanted = dict(pair.split("=", 1) for pair in options.set)
    if options.hidden is not None:
        wanted["hidden_dimension"] = str(options.hidden)
    return runs.Wish(
        folder=options.data,
        models=models,
        seeds=options.seeds or SEEDS,
        setting=ours.Setting(
            recipe=options.recipe,
            parameters={**parameters, **wanted},
            threads=options.threads,
            epochs=options.epochs,
        ),
        guest={**GUEST, **json.loads(options.guest)},
        guest_seeds=options.guest_seeds,
    )


def _title(name: str, protocol: str, wish: runs.Wish) -> str:
    setting = wish.setting
    extra = ", ".join(f"{key} {value}" for key, value in setting.parameters.items()) or "the recipe's defaults"
    return f"## {name}, protocol {protocol}; {setting.recipe} with {extra}; {setting.threads} thread(s)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", choices=["table", "accept", "asked", "features", "losses", "service"], default="table"
    )
    parser.add_argument("names", nargs="*", help="data sets or their folders, targets or features; default: all")
    parser.add_argument("--data", type=Path, default=data.FOLDER, help="folder of the data sets, or of the only one")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: loo for ml-1m-order, else h10")
    parser.add_argument("--models", nargs="+", choices=runs.MODELS)
    parser.add_argument("--recipe", default="aws-hrnn")
    parser.add_argument("--hidden", type=int, help="hidden_dimension")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="more hyperparameters")
    parser.add_argument("--epochs", type=int, help="instead of as many as the recipe takes")
    parser.add_argument("--seeds", type=int, help=f"default: {SEEDS}, for asked 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--guest", default="{}", metavar="JSON", help="settings of peers that are networks, see guest_process.py"
    )
    parser.add_argument("--guest-seeds", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
