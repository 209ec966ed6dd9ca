"""Quality on validation events after each epoch, against the seconds of training until then."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.quality import data, ours, protocols
from benchmarks.quality.protocols import Answers


def show(folder: Path, *, hidden: int, cell: str, threads: int, epochs: int | None, sample: int) -> None:
    task = protocols.loo(data.read(folder))
    chosen = np.random.default_rng(0).permutation(len(task.validation))[:sample]
    asked = [task.validation[number] for number in chosen]
    setting = ours.Setting(cell=cell, parameters={"hidden_dimension": str(hidden)}, threads=threads, epochs=epochs)
    print(f"\n## {folder.name}, the event before the last of {len(asked)} users, items of the input removed, "
          f"hidden {hidden}, {cell} cell, {threads} thread(s)\n")  # fmt: skip
    print("| epoch | CPU s of training | NDCG@10 | HR@10 |\n|---|---|---|---|")
    best = (0.0, 0, 0.0)

    def on_epoch(epoch: int, cpu_seconds: float, answers: Answers) -> bool:
        nonlocal best
        figures = protocols.measure(answers, asked)["filtered"]
        best = max(best, (figures["NDCG@10"], epoch, cpu_seconds))
        print(f"| {epoch} | {cpu_seconds:.3f} | {figures['NDCG@10']:.4f} | {figures['HR@10']:.4f} |", flush=True)
        return True

    model = ours.train(task, setting, 0, on_epoch=on_epoch)
    figure, epoch, cpu_seconds = best
    print(f"\nbest: NDCG@10 {figure:.4f} after epoch {epoch}, {cpu_seconds:.0f} CPU s of training")
    figures = protocols.measure(model.answers, task.queries)["filtered"]
    print(f"test, the last event of everybody: NDCG@10 {figures['NDCG@10']:.4f}, HR@10 {figures['HR@10']:.4f}, "
          f"after {model.epochs} epochs, {model.cpu_seconds:.0f} CPU s")  # fmt: skip
