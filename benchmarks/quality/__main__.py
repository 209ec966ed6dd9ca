"""The quality of our model beside its peers: ``python -m benchmarks.quality``. See the README for what is printed.

python -m benchmarks.quality                       the tables of all data sets
python -m benchmarks.quality accept ml-100k        one target, the figure and the peers' beside it
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

from benchmarks.quality import data, losses, ours, runs
from benchmarks.quality.acceptance import LINES, PUBLISHED, verdicts
from benchmarks.quality.protocols import PROTOCOLS
from benchmarks.quality.tables import show

DATA_SETS = ("ml-100k", "ml-latest-small", "ml-1m-order")
SASREC = {"most_seconds": 900, "batch": 16}


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
    elif options.what == "accept":
        for name in options.names or list(LINES):
            _accept(name, options)
    else:
        for name in options.names or DATA_SETS:
            _table(name, options)


def _table(name: str, options: argparse.Namespace) -> None:
    protocol = runs.protocol_of(name, options.protocol)
    # On ml-1m it takes hours; ask for it by name.
    default = [model for model in runs.MODELS if not (model == "sasrec" and name == "ml-1m-order")]
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
        seeds=options.seeds,
        setting=ours.Setting(
            recipe=options.recipe,
            parameters={**parameters, **wanted},
            threads=options.threads,
            epochs=options.epochs,
        ),
        sasrec={**SASREC, **json.loads(options.sasrec)},
        sasrec_seeds=options.sasrec_seeds,
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
        "what", nargs="?", choices=["table", "accept", "features", "losses", "service"], default="table"
    )
    parser.add_argument("names", nargs="*", help="data sets, targets or features; default: all of them")
    parser.add_argument("--data", type=Path, default=data.FOLDER, help="folder of the data sets")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="default: loo for ml-1m-order, else h10")
    parser.add_argument("--models", nargs="+", choices=runs.MODELS)
    parser.add_argument("--recipe", default="aws-hrnn")
    parser.add_argument("--hidden", type=int, help="hidden_dimension")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="more hyperparameters")
    parser.add_argument("--epochs", type=int, help="instead of as many as the recipe takes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sasrec", default="{}", metavar="JSON", help="settings of the peer, see guest_process.py")
    parser.add_argument("--sasrec-seeds", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
