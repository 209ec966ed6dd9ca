"""``python -m benchmarks.tuning hpo|automl|scale|limit|kills [FOLDER]``: HPO through a whole system.

hpo     12 trainings of aws-hrnn, 2 at once, beside one with the defaults (FOLDER: ml-100k)
automl  all recipes of type USER_PERSONALIZATION, and popularity
scale   trials that only sleep, on 1, 2 and 4 workers
limit   40 trials, 10 at once, that only sleep: leases are counted in Redis all the while
kills   as hpo, while a training worker is killed every 20 seconds
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.tuning.sleeping import SLEEPING
from services.cli.client import connect
from services.cli.data import demo_catalogue, tables
from services.cli.local.system import LocalSystem, SystemOptions, run_local_system
from services.cli.resource_life import ResourceLife
from shared.recipes import RECIPES
from shared.store import Record
from shared.store.redis import RedisStore

GAIN = "normalized_discounted_cumulative_gain_at_25"
JOBS, AT_ONCE = 12, 2
SLEEP_SECONDS = 4.0
KILL_EVERY = 20.0


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "hpo"
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else Path(scratch) / "films"
        if len(sys.argv) <= 2:
            demo_catalogue.write_demo_data(data)
        {"hpo": hpo, "automl": automl, "scale": scale, "limit": limit, "kills": kills}[what](data, Path(scratch))


class Bench:
    """A running system with data in it."""

    def __init__(self, system: LocalSystem, data: Path) -> None:
        self.system = system
        self.aws = connect(system.client).control
        self._life = ResourceLife(connect(system.client), "benchmark")
        self._group = self._life.create_dataset_group()
        for table in tables.read_tables(data):
            dataset = self._life.create_dataset(self._group, table.dataset_type, table.schema)
            self._life.import_dataset(
                dataset, f"benchmark-{table.dataset_type.lower()}", f"s3://data/{table.path.name}"
            )
        self.store = RedisStore(redis_url(system))

    def begin(self, name: str, **solution: Any) -> str:
        arn = self.aws.create_solution(name=name, datasetGroupArn=self._group, performAutoTraining=False, **solution)[
            "solutionArn"
        ]
        return str(self.aws.create_solution_version(solutionArn=arn)["solutionVersionArn"])

    def ended(self, version: str) -> tuple[Mapping[str, Any], float]:
        """What DescribeSolutionVersion tells of it in the end, and the seconds that it took."""
        self._life.wait_until_usable("solution_version", version)
        told = self.aws.describe_solution_version(solutionVersionArn=version)["solutionVersion"]
        return told, (told["lastUpdatedDateTime"] - told["creationDateTime"]).total_seconds()

    def trials(self, version: str) -> list[Record]:
        return sorted(self.store.list_page("trial", version)[0], key=lambda trial: int(trial.body["number"]))

    def tested(self, version: str) -> float:
        return float(self.aws.get_solution_metrics(solutionVersionArn=version)["metrics"][GAIN])


def redis_url(system: LocalSystem) -> str:
    lines = (system.data_dir.redis / "redis.conf").read_text().splitlines()
    conf = dict(line.split(" ", 1) for line in lines if " " in line)
    return f"redis://:{conf['requirepass']}@127.0.0.1:{conf['port']}/0"


@contextmanager
def bench(data: Path, folder: Path, workers: int, **settings: str) -> Iterator[Bench]:
    os.environ.update({f"FORETASTE_{name.upper()}": value for name, value in settings.items()})
    wishes = SystemOptions(data_dir=folder, buckets={"data": data}, training_workers=workers)
    with run_local_system(wishes, say=print, stopping=threading.Event()) as system:
        yield Bench(system, data)


def tuned(jobs: int = JOBS, at_once: int = AT_ONCE, **config: Any) -> dict[str, Any]:
    """HPO over hidden_dimension, bptt and recency_mask: what a recipe of the HRNN family searches by itself."""
    resources = {"maxNumberOfTrainingJobs": str(jobs), "maxParallelTrainingJobs": str(at_once)}
    return {"performHPO": True, "solutionConfig": {"hpoConfig": {"hpoResourceConfig": resources, **config}}}


def hpo(data: Path, scratch: Path) -> None:
    recipe = RECIPES["aws-hrnn"].arn
    with bench(data, scratch / "system", AT_ONCE) as at:
        default = at.begin("default", recipeArn=recipe)
        _, alone = at.ended(default)
        version = at.begin("tuned", recipeArn=recipe, **tuned())
        told, seconds = at.ended(version)
        trials = at.trials(version)
        show(trials)
        first, best = (trial.state["metrics"][GAIN] for trial in (trials[0], _winner(at, version, trials)))
        print(f"\nwon: {told['tunedHPOParams']['algorithmHyperParameters']}, {told['trainingHours']} training hours")
        print(f"validation NDCG@25: winner {best:.4f}, defaults {first:.4f} (target: at least that)")
        print(f"test NDCG@25: winner {at.tested(version):.4f}, defaults {at.tested(default):.4f}")
        print(f"seconds: HPO {seconds:.1f}, one default training {alone:.1f}: {seconds / alone:.2f} x (target below 6)")


def _winner(at: Bench, version: str, trials: Sequence[Record]) -> Record:
    standing = at.store.get(version)
    assert standing is not None
    return trials[standing.state["tuned"]["trial"]]


def show(trials: Sequence[Record]) -> None:
    print("\n| trial | recipe | parameters | status | epochs | validation NDCG@25 | s |\n|---|---|---|---|---|---|---|")
    for trial in trials:
        searched = ("hidden_dimension", "bptt", "recency_mask", "apply_recency_bias")
        parameters = ", ".join(trial.body["parameters"][n] for n in searched if n in trial.body["parameters"])
        progress = trial.state.get("progress", {})
        curve = progress.get("curve", [])
        value = trial.state.get("metrics", {}).get(GAIN) or max((gain for _, gain, _ in curve), default=0.0)
        status = "ended early" if trial.state.get("pruned") else (trial.status or "").lower()
        print(
            f"| {trial.body['number']} | {trial.body['recipeArn'].rpartition('/')[2]} | {parameters} | {status} "
            f"| {len(curve)} | {value:.4f} | {progress.get('seconds', 0.0):.1f} |"
        )


def automl(data: Path, scratch: Path) -> None:
    competing = [r.arn for r in RECIPES.values() if r.recipe_type == "USER_PERSONALIZATION" and not r.domain]
    popularity = RECIPES["aws-popularity-count"].arn
    with bench(data, scratch / "system", AT_ONCE) as at:
        config = {"autoMLConfig": {"recipeList": [*competing, popularity]}}
        version = at.begin("automl", performAutoML=True, solutionConfig=config)
        told, seconds = at.ended(version)
        show(at.trials(version))
        solution = at.aws.describe_solution(solutionArn=told["solutionArn"])["solution"]
        print(f"\nbest: {solution['autoMLResult']['bestRecipeArn']}, {seconds:.1f} s")
        print(f"test NDCG@25: {at.tested(version):.4f}")


def sleeping(at: Bench, name: str, jobs: int, at_once: int, seconds: float) -> str:
    config = tuned(jobs, at_once)
    config["solutionConfig"]["algorithmHyperParameters"] = {"milliseconds": str(round(seconds * 1000))}
    return at.begin(name, recipeArn=SLEEPING.arn, **config)


def scale(data: Path, scratch: Path) -> None:
    print("| workers | trials | s asleep | s | of ideal | s of each beyond its sleep |\n|---|---|---|---|---|---|")
    single = 0.0
    for workers in (1, 2, 4):
        with bench(data, scratch / f"system-{workers}", workers, recipes="benchmarks.tuning.sleeping") as at:
            at.ended(sleeping(at, "warm", workers, workers, 0.0))
            version = sleeping(at, "measured", 16, workers, SLEEP_SECONDS)
            at.ended(version)
            trials = at.trials(version)
            took = max(t.updated for t in trials) - min(t.created for t in trials)
            single = single or took
            beyond = took * workers / len(trials) - SLEEP_SECONDS
            print(f"| {workers} | 16 | {SLEEP_SECONDS} | {took:.1f} | {single / took / workers:.2f} | {beyond:.2f} |")


def limit(data: Path, scratch: Path) -> None:
    with bench(data, scratch / "system", 10, recipes="benchmarks.tuning.sleeping") as at:
        version = sleeping(at, "forty", 40, 10, 1.0)
        counts = []
        over = threading.Event()

        def count() -> None:
            store = RedisStore(redis_url(at.system))
            while not over.is_set():
                counts.append(
                    sum(store.get_lease(trial.arn) is not None for trial in store.list_page("trial", version)[0])
                )

        counting = threading.Thread(target=count)
        counting.start()
        told, seconds = at.ended(version)
        over.set()
        counting.join()
        trials = at.trials(version)
        print(
            f"{len(trials)} trials, {told['status']} after {seconds:.1f} s; of {len(counts)} looks at Redis the most "
        )
        print(f"leases at once: {max(counts)} (limit 10)")


def kills(data: Path, scratch: Path) -> None:
    with bench(data, scratch / "system", AT_ONCE) as at:
        version = at.begin("tuned", recipeArn=RECIPES["aws-hrnn"].arn, **tuned())
        over = threading.Event()
        killed = []

        def kill() -> None:
            while not over.wait(KILL_EVERY):
                name = random.choice([name for name in at.system.supervisor.pids if name.startswith("training")])
                killed.append(name)
                os.kill(at.system.supervisor.pids[name], signal.SIGKILL)

        killing = threading.Thread(target=kill)
        killing.start()
        told, seconds = at.ended(version)
        over.set()
        killing.join()
        trials = at.trials(version)
        show(trials)
        print(
            f"\n{told['status']} after {seconds:.1f} s and {len(killed)} kills, {len(trials)} trials (target: {JOBS})"
        )


if __name__ == "__main__":
    main()
