"""Through the whole service and beside it: GetSolutionMetrics against the same split measured by this benchmark."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from benchmarks.quality import data, ours, protocols
from benchmarks.quality.runs import Wish
from services.cli.client import connect
from services.cli.data import tables
from services.cli.local.system import SystemOptions, run_local_system
from services.cli.resource_life import ResourceLife

AGREED = 0.005
KEYS = {
    "NDCG@10": "normalized_discounted_cumulative_gain_at_10",
    "NDCG@25": "normalized_discounted_cumulative_gain_at_25",
    "MRR@25": "mean_reciprocal_rank_at_25",
    "P@25": "precision_at_25",
}


def show(names: list[str], wish: Wish) -> None:
    for name in names:
        folder = (wish.folder / name).resolve()
        answered = through_the_service(folder, wish.setting.recipe)
        beside = offline(folder, wish.setting)
        print(f"\n## {name}, protocol aws, {wish.setting.recipe} with its defaults\n")
        print("| metric | GetSolutionMetrics | here | difference |  |\n|---|---|---|---|---|")
        for column, key in KEYS.items():
            difference = abs(answered[key] - beside[column])
            word = "agrees" if difference <= AGREED else "DIFFERS"
            print(f"| {column} | {answered[key]:.4f} | {beside[column]:.4f} | {difference:.4f} | {word} |")


def through_the_service(folder: Path, recipe: str) -> dict[str, float]:
    """A system of its own, boto3, a solution version, its metrics."""
    with tempfile.TemporaryDirectory() as scratch:
        wishes = SystemOptions(data_dir=Path(scratch) / "system", buckets={"data": folder})
        with run_local_system(wishes, say=print, stopping=threading.Event()) as system:
            life = ResourceLife(connect(system.client), "quality")
            group = life.create_dataset_group()
            for table in tables.read_tables(folder):
                dataset = life.create_dataset(group, table.dataset_type, table.schema)
                life.import_dataset(dataset, table.dataset_type.lower(), f"s3://data/{table.path.name}")
            version = life.create_solution_version(life.create_solution(group, recipe))
            return dict(life.get_metrics(version).model)


def offline(folder: Path, setting: ours.Setting) -> dict[str, float]:
    """Seed 0, as the training worker's."""
    values = setting.values
    histories = data.within_percentiles(
        data.read(folder),
        float(values["min_user_history_length_percentile"]),
        float(values["max_user_history_length_percentile"]),
    )
    task = protocols.aws(histories, 0)
    return protocols.measure(ours.train(task, setting, 0).answers, task.queries)["raw"]
