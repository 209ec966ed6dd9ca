"""gunicorn's threaded worker, which refuses what is not HTTP in AWS's form: gunicorn's own refusal is in HTML,
and the JavaScript SDK stumbles over it. What is HTTP never comes here; the applications answer it themselves.
"""

from __future__ import annotations

import gc
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

from shared.aws.errors import InternalFailure, PersonalizeError, Serialization
from shared.aws.turns import Turns


class Worker(ThreadWorker):  # type: ignore[misc]
    """For `worker_class` in gunicorn's configuration. An application may say how many requests it does `at_once`."""

    def get_thread_pool(self) -> Turns:
        return Turns(self.cfg.threads)

    def notify(self) -> None:
        super().notify()
        self.tpool.look_after()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.tpool.at_once = getattr(self.wsgi, "at_once", None) or self.cfg.threads
        # What is there now stays: to look through all of it for garbage, again and again, takes some 40 ms each time.
        gc.collect()
        gc.freeze()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer on the bare socket `client`; gunicorn closes it afterwards."""
        error, status = _refusal(exc)
        if isinstance(error, InternalFailure):
            self.log.exception("Error handling request %s", getattr(req, "uri", ""))
        else:
            self.log.warning("Invalid request from %s: %s", addr[0] if addr else "", exc)
        try:
            util.write_nonblock(client, _message(error, status))
        except OSError as gone:
            self.log.debug("The refusal was not heard: %s", gone)


def _refusal(exc: Exception) -> tuple[PersonalizeError, HTTPStatus]:
    match exc:
        case LimitRequestLine():
            return Serialization("The request line is too long."), HTTPStatus.REQUEST_URI_TOO_LONG
        case LimitRequestHeaders():
            return Serialization("The headers are too large."), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        case ParseException():
            return Serialization("The request is not valid HTTP."), HTTPStatus.BAD_REQUEST
    return InternalFailure("An internal error has occurred."), HTTPStatus.INTERNAL_SERVER_ERROR


def _message(error: PersonalizeError, status: HTTPStatus) -> bytes:
    body = error.body()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"x-amzn-RequestId: {uuid4()}\r\n"
        f"x-amzn-ErrorType: {error.code}\r\n\r\n"
    )
    return head.encode() + body
