"""A WSGI application with Leader/Followers threads, for tests of gunicorn's worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from shared.http.leader_followers import step_aside
from tests.heaps import heaps


class LeaderFollowersApp:
    """Answers with the name of its thread: / at once, /long after some seconds, /aside and /computes after giving up
    the lead for some seconds. /heaps answers with the number of heaps of all threads.
    """

    def __init__(self, *, leader_followers: bool = True) -> None:
        self.leader_followers = leader_followers

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        _, _, path = str(environ["PATH_INFO"]).partition("/")
        seconds = float(environ.get("QUERY_STRING") or 0)
        said = environ["wsgi.input"].read()
        if path in {"aside", "computes"}:
            with step_aside(computing=path == "computes"):
                time.sleep(seconds)
        else:
            time.sleep(seconds)
        name = str(heaps()) if path == "heaps" else threading.current_thread().name
        body = f"{name} {said.decode()}".encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]


def create_app(*, leader_followers: bool = True) -> Any:
    return LeaderFollowersApp(leader_followers=leader_followers)
