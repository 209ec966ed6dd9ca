"""How fast our model trains, beside its peers and beside what the machine can do: ``python -m benchmarks.training``.

python -m benchmarks.training               events/s on ml-1m, next to RecBole's GRU4Rec and RecTools' SASRec
python -m benchmarks.training curve         quality on validation events against seconds of training
python -m benchmarks.training catalogues    events/s by hidden dimension and size of catalogue; for a GPU
python -m benchmarks.training memory        peak memory with 25 million interactions
python -m benchmarks.training updates       seconds of a training in mode UPDATE beside one in mode FULL
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.quality import data


def main() -> None:
    options = _parser().parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is loaded
    if options.what == "speed":
        from benchmarks.training import speed

        speed.show(
            options.data / options.data_set,
            hidden=options.hidden[0] if options.hidden else 64,
            cell=options.cell,
            threads=options.threads,
            seconds=options.seconds,
            peers=speed.PEERS if options.peers is None else options.peers,
        )
    elif options.what == "curve":
        from benchmarks.training import curve

        curve.show(
            options.data / options.data_set,
            hidden=options.hidden[0] if options.hidden else 64,
            cell=options.cell,
            threads=options.threads,
            epochs=options.epochs,
            sample=options.sample,
        )
    elif options.what == "catalogues":
        from benchmarks.training import catalogues

        catalogues.show(
            hidden=options.hidden or [43, 149, 256],
            items=options.items or [10**4, 10**5, 10**6],
            events=options.events or 4_000_000,
            cell=options.cell,
            threads=options.threads,
            seconds=options.seconds,
        )
    elif options.what == "updates":
        from benchmarks.training import updates

        updates.show(
            options.data / options.data_set,
            hidden=options.hidden[0] if options.hidden else 43,
            threads=options.threads,
            share=options.share,
        )
    else:
        from benchmarks.training import memory

        memory.show(
            events=options.events or 25_000_000,
            items=(options.items or [60_000])[0],
            hidden=options.hidden[0] if options.hidden else 64,
            threads=options.threads,
            seconds=options.seconds,
            folder=options.folder,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="?", choices=["speed", "curve", "catalogues", "memory", "updates"], default="speed"
    )
    parser.add_argument("--data", type=Path, default=data.FOLDER, help="folder of the data sets")
    parser.add_argument("--data-set", default="ml-1m-order")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--hidden", type=int, nargs="+")
    parser.add_argument("--cell", default="linear")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=40, help="of steady steps, for each thing measured")
    parser.add_argument("--peers", nargs="*", help="speed: which of them; none given: only ours")
    parser.add_argument("--epochs", type=int, help="curve: instead of as many as the recipe takes")
    parser.add_argument("--sample", type=int, default=1000, help="curve: users asked after each epoch")
    parser.add_argument("--items", type=int, nargs="+", help="catalogues, memory: sizes of the made-up catalogue")
    parser.add_argument("--events", type=int, help="catalogues, memory: made-up interactions")
    parser.add_argument("--share", type=float, default=0.05, help="updates: of the interactions, the newest, are new")
    parser.add_argument("--folder", type=Path, help="memory: where files are made (default: the system's)")
    return parser


if __name__ == "__main__":
    main()
