"""``python -m benchmarks.serving.filters [ITEMS ...]``: what a filter takes of a GetRecommendations, and what is made
for it.

The operation as the runtime's process answers it, but for HTTP and its checks, without which the share is the greater:
records and events from Redis, an untrained network of the HRNN's, the filter, the list. The user has 20 live events and
100 imported ones. Milliseconds are of CPU, of the thread that answers: the machine may do other things as well.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import numpy as np
import structlog
from redis import Redis

from services.cli.local.embedded_redis import find_binary
from services.runtime import app
from services.runtime.endpoint import RuntimeContext
from shared.data.arrays.histories import save_names
from shared.data.arrays.id_index import IdIndex
from shared.http.app import Call
from shared.recipes import RECIPES
from shared.recipes.hrnn.config import HrnnConfig
from shared.recipes.hrnn.scoring import Scorer
from shared.recipes.hrnn.serving.numpy_network import NumpyNetwork, get_weight_shapes
from shared.resources.dataset.requests import TYPES
from shared.resources.dataset_import_job import ROWS
from shared.serving.model_cache import LoadedModel
from shared.settings import Settings
from shared.state.lifecycle import ACTIVE
from shared.storage.artifacts import Artifacts
from shared.store import Interaction, Record, Store
from shared.store.cached_store import CachedStore
from shared.store.quarantine import Quarantine
from shared.store.redis import RedisStore

ITEMS = (2_000, 100_000)
HIDDEN = 43
REQUESTS, FEW_REQUESTS, WARM = 200, 30, 10
EVENTS = 20
RECIPE = RECIPES["aws-hrnn"]
PREFIX = "arn:aws:personalize:us-east-1:000000000000"
GROUP = f"{PREFIX}:dataset-group/g"
SCHEMAS = {
    "Items": '{"name": "ITEM_ID", "type": "string"}, {"name": "GENRE", "type": "string", "categorical": true},'
    '{"name": "PRICE", "type": "float"}, {"name": "YEAR", "type": "int"}, {"name": "TITLE", "type": "string"}',
    "Users": '{"name": "USER_ID", "type": "string"}, {"name": "AGE", "type": "int"}',
    "Interactions": '{"name": "USER_ID", "type": "string"}, {"name": "ITEM_ID", "type": "string"},'
    '{"name": "TIMESTAMP", "type": "long"}, {"name": "EVENT_TYPE", "type": "string"}',
}
#: Each item has two of twenty genres.
DATA = {
    "Items": "SELECT format('i{{:07}}', n) AS ITEM_ID, format('g{{}}|g{{}}', n % 20, n // 7 % 20) AS GENRE,"
    "(n % 1000)::FLOAT AS PRICE, (1950 + n % 75)::INTEGER AS YEAR, format('The title of {{}}', n) AS TITLE"
    " FROM range({items}) t(n)",
    "Users": "SELECT format('u{{}}', n) AS USER_ID, (n % 80)::INTEGER AS AGE FROM range(1000) t(n)",
    "Interactions": "SELECT format('u{{}}', n % 1000) AS USER_ID, format('i{{:07}}', n * 7919 % {items}) AS ITEM_ID,"
    "n AS TIMESTAMP, CASE n % 3 WHEN 0 THEN 'watch' ELSE 'click' END AS EVENT_TYPE FROM range(100000) t(n)",
}
ONE_GENRE = 'INCLUDE ItemID WHERE Items.GENRE IN ("g3")'
UNSEEN = 'EXCLUDE ItemID WHERE Interactions.EVENT_TYPE IN ("watch")'
#: What is asked for -> the filter's expression and values.
FILTERS: dict[str, tuple[str, dict[str, str]]] = {
    "a genre": (ONE_GENRE, {}),
    "genres of the request": ("INCLUDE ItemID WHERE Items.GENRE IN ($G)", {"G": '"g1","g5","g9"'}),
    "a price of the request": ("EXCLUDE ItemID WHERE Items.PRICE > $MOST", {"MOST": "500"}),
    "nothing seen": (UNSEEN, {}),
    "by the user's age": (f"{ONE_GENRE} IF CurrentUser.AGE > 18", {}),
    "five conditions, two expressions": (
        f'INCLUDE ItemID WHERE Items.GENRE IN ($G) AND Items.PRICE < $MOST AND Items.YEAR >= 1990 OR Items.GENRE = "g2"'
        f" | {UNSEEN}",
        {"G": '"g1","g5"', "MOST": "700"},
    ),
}


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sizes = [int(text) for text in sys.argv[1:]] or ITEMS
    print("| items | filter | CPU ms | without it | share |\n|---|---|---|---|---|")
    made = []
    for items in sizes:
        with tempfile.TemporaryDirectory() as folder, redis_at(Path(folder)) as store:
            made.append((items, *_report(Path(folder), store, items)))
    print("\n| items | Items read, s | for the model, s | file, MiB | peak memory, MiB |\n|---|---|---|---|---|")
    for items, read, compiled, mib in made:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"| {items:,} | {read:.2f} | {compiled:.2f} | {mib} | {peak} |")


@contextlib.contextmanager
def redis_at(folder: Path) -> Iterator[Store]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        for _ in range(100):
            with contextlib.suppress(Exception):
                Redis.from_url(url).ping()
                break
            time.sleep(0.05)
        try:
            yield RedisStore(url)
        finally:
            server.terminate()


def _report(folder: Path, store: Store, items: int) -> tuple[float, float, int]:
    # As in a runtime: what has not changed is not asked again.
    serving = app.create_context(Settings(), cast(Store, CachedStore(store, patient=store)), Artifacts(folder))
    _import(store, Artifacts(folder), items)
    campaign = f"{PREFIX}:campaign/c"
    _put(store, campaign, "campaign", solutionVersionArn=f"{PREFIX}:solution/s/1")
    model = _model(folder, items)
    serving.models._models[f"{PREFIX}:solution/s/1"] = model
    dataset = model.datasets["INTERACTIONS"]
    for start in range(0, EVENTS, 10):
        store.append_interactions(dataset, [_event(start + n, items) for n in range(10)], invocation=str(start))

    began = time.perf_counter()
    serving.filters.read_item_rows(model)
    read = time.perf_counter() - began
    requests: dict[str, dict[str, Any]] = {"": {}}
    for number, (name, (expression, values)) in enumerate(FILTERS.items()):
        arn = f"{PREFIX}:filter/f{number}"
        _put(store, arn, "filter", datasetGroupArn=GROUP, filterExpression=expression)
        requests[name] = {"filterArn": arn, "filterValues": values}
    began = time.perf_counter()
    serving.filters.prepare_model(model, Quarantine("benchmark"))
    compiled = time.perf_counter() - began

    seconds: dict[str, list[float]] = {name: [] for name in requests}
    for number in range((REQUESTS if items <= 100_000 else FEW_REQUESTS) + WARM):
        for name, request in requests.items():
            began = time.thread_time()
            listed = _asked(serving, campaign, request)
            if number >= WARM:
                seconds[name].append(time.thread_time() - began)
            if len(listed) != 25:
                raise RuntimeError(f"{name or 'no filter'}: {len(listed)} items were answered")
    without = statistics.median(seconds.pop("")) * 1e3
    for name, found in seconds.items():
        took = statistics.median(found) * 1e3
        print(f"| {items:,} | {name} | {took:.2f} | {without:.2f} | {(took - without) / took:.0%} |")
    [snapshot] = Artifacts(folder).create_workspace(model.datasets["ITEMS"]).iterdir()
    return read, compiled, snapshot.stat().st_size >> 20


def _asked(serving: RuntimeContext, campaign: str, request: dict[str, Any]) -> list[Any]:
    whole = {"campaignArn": campaign, "userId": "u20", **request}
    call = Call(operation="GetRecommendations", request=whole, request_id="1", invocation="1")
    found: Any = app.create_handlers(serving)["GetRecommendations"](call)
    listed: list[Any] = found["itemList"]
    return listed


def _put(store: Store, arn: str, kind: str, *parents: str, **body: Any) -> None:
    now = time.time()
    record = Record(arn=arn, kind=kind, status=ACTIVE, created=now, updated=now, body=body, parents=parents)
    store.create(record, invocation=arn)


def _import(store: Store, artifacts: Artifacts, items: int) -> None:
    for name, fields in SCHEMAS.items():
        schema, dataset = f"{PREFIX}:schema/{name}", f"{PREFIX}:dataset/g/{name.upper()}"
        job = f"{PREFIX}:dataset-import-job/{name}"
        _put(store, schema, "schema", schema=f'{{"type": "record", "name": "{name}", "fields": [{fields}]}}')
        about = {"datasetType": name.upper(), "datasetGroupArn": GROUP, "schemaArn": schema}
        _put(store, dataset, "dataset", GROUP, **about)
        _put(store, job, "dataset_import_job", dataset, importMode="FULL")
        with artifacts.fill_artifact(job, 1) as folder:
            duckdb.sql(DATA[name].format(items=items)).write_parquet(str(folder / ROWS))


def _model(folder: Path, items: int) -> LoadedModel:
    ids = folder / "ids"
    ids.mkdir()
    save_names(ids, user_ids=[], item_ids=[f"i{number:07}" for number in range(items)], event_type_names=[])
    artifact: Any = SimpleNamespace(
        recipe=RECIPE.name,
        item_ids=IdIndex(ids, "item"),
        event_type_names=["watch", "click"],
        popularity=np.full(items, 1 / items, np.float32),
        contexts=None,
        get_history=lambda _: [],
    )
    form, rng = HrnnConfig(items=items, hidden=HIDDEN), np.random.default_rng(0)
    weights = {name: 0.1 * rng.standard_normal(shape, np.float32) for name, shape in get_weight_shapes(form).items()}
    scorer = Scorer(NumpyNetwork(form, weights), artifact)
    datasets = {dataset_type: f"{PREFIX}:dataset/g/{dataset_type}" for dataset_type in TYPES}
    return LoadedModel(scorer, RECIPE, GROUP, datasets)


def _event(number: int, items: int) -> Interaction:
    return Interaction(
        user_id="u20",
        session_id="s",
        item_id=f"i{number * 104_729 % items:07}",
        event_type="watch",
        event_value=None,
        sent_at=1_700_000_000.0 + number,
    )


if __name__ == "__main__":
    main()
