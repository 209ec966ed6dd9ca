"""``foretaste hpo`` against the API on the in-memory store, through a socket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import WSGIRequestHandler, make_server

from services.api.app import build_handlers, build_own_handlers
from services.cli.commands import hpo
from services.cli.errors import NoTrials
from services.cli.main import cli
from shared.aws import service_model
from shared.http import app
from shared.state.lifecycle import ACTIVE, CREATE_IN_PROGRESS
from tests.unit.services.api.memory_api import PREFIX, MemoryApi

Invoke = Callable[..., Result]
KEYS = {"AKIDEXAMPLE": "a secret"}


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def invoke(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    offered = {"personalize": build_handlers(api.context), service_model.OWN_SERVICE: build_own_handlers(api.context)}

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: object, **__: object) -> None:
            """Test output stays readable."""

    server = make_server("127.0.0.1", 0, app.create_app(offered, keys=KEYS), threaded=True, request_handler=Quiet)
    server.daemon_threads = True  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    ((key, secret),) = KEYS.items()
    for name, value in {
        "AWS_ENDPOINT_URL_PERSONALIZE": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hpo, "REFRESH_SECONDS", 0.05)
    yield lambda *arguments: CliRunner().invoke(cli, ["hpo", *arguments], catch_exceptions=False)
    server.shutdown()
    server.server_close()


def tuned(api: MemoryApi) -> str:
    """A version in training, with a trial that is done and one that runs."""
    version = api.version(status=CREATE_IN_PROGRESS)
    record = api.record(version)
    api.store.replace(replace(record, body={**record.body, "performHPO": True}))
    recipe = record.body["recipeArn"]
    for number, status in enumerate((ACTIVE, CREATE_IN_PROGRESS)):
        body = {"recipeArn": recipe, "number": number, "parameters": {"bptt": str(20 + number)}}
        state = {"metrics": {hpo.METRIC: 0.1234}} if status == ACTIVE else {}
        api.put(f"{PREFIX}:trial/s/0a1b2c3d/{number:03}", "trial", body, status, parents=(version,), state=state)
    return version


def test_it_works(invoke: Invoke, api: MemoryApi) -> None:
    output = invoke(tuned(api)).output
    assert f"{CREATE_IN_PROGRESS}, trials: 1 done, 1 running\n" in output
    assert "bptt 20" in output
    assert "bptt 21" in output
    assert output.endswith("best NDCG@25 so far, by the trials that are done\n0.1234 ██\n")


def test_watching_ends_when_the_version_is_settled(invoke: Invoke, api: MemoryApi) -> None:
    version = tuned(api)

    def settle() -> None:
        record = api.record(version)
        api.store.replace(replace(record, status=ACTIVE))

    threading.Timer(0.5, settle).start()
    assert f"{ACTIVE}, trials: 1 done, 1 running" in invoke(version, "--watch").output


def test_a_version_that_nothing_tunes_has_no_trials(invoke: Invoke, api: MemoryApi) -> None:
    version = api.version()
    with pytest.raises(NoTrials, match=f"{version} has no trials: its solution asks for neither performHPO nor"):
        invoke(version)
