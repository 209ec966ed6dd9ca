"""Whatever a store, a queue or a disk refuses becomes AWS's 503; what breaks on the way out is no unknown operation."""

from __future__ import annotations

import errno
from typing import Any

import pytest
import redis.exceptions
from flask import Flask
from kombu.exceptions import OperationalError

from shared.http import app as web
from shared.store import NoSpace, UnreadableRecord


class Breaking:
    """One operation, which raises what it is given."""

    error: Exception | None = None

    def __call__(self, call: web.Call) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {}


@pytest.fixture
def breaking() -> Breaking:
    return Breaking()


@pytest.fixture
def app(breaking: Breaking) -> Flask:
    return web.create_app({"personalize": {"ListSchemas": breaking}}, keys=None)


def ask(app: Flask) -> Any:
    headers = {"X-Amz-Target": "AmazonPersonalize.ListSchemas"}
    environ = {"RAW_URI": "/"}
    return app.test_client().post("/", data=b"{}", headers=headers, environ_overrides=environ)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.exceptions.ConnectionError("refused"), "does not answer"),
        (redis.exceptions.TimeoutError("slow"), "does not answer"),
        (OperationalError("refused"), "does not answer"),
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "being started"),
        (redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "no memory left"),
        (
            redis.exceptions.OutOfMemoryError("Command # 1 (SET a 1) of pipeline caused error: command not allowed"),
            "no memory left",
        ),
        (
            redis.exceptions.ResponseError(
                "Command # 1 (SET a 1) of pipeline caused error: MISCONF Errors writing to the AOF file: No space"
            ),
            "no space left",
        ),
        (
            redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: x script: on @user:1."),
            "no space left",
        ),
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), "reads alone"),
        (redis.exceptions.AuthenticationError("Authentication required."), "does not let this service in"),
        (redis.exceptions.ResponseError("WRONGPASS invalid username-password pair"), "does not let this service in"),
        (redis.exceptions.NoPermissionError("this user has no permissions"), "does not let this service in"),
        (redis.exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (redis.exceptions.ResponseError("BUSY Redis is busy running a script."), "busy"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (NoSpace("2 MiB of its disk are free"), "no space left"),
        (UnreadableRecord("arn:a"), "another one has written it"),
    ],
)
def test_what_is_short_or_away_is_answered_with_503(
    app: Flask, breaking: Breaking, error: Exception, said: str
) -> None:
    breaking.error = error
    answer = ask(app)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (503, "ServiceUnavailable")
    assert said in answer.get_json(force=True)["message"]
    breaking.error = None
    assert ask(app).status_code == 200


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), KeyError("k"), redis.exceptions.ResponseError("ERR")]
)
def test_a_fault_of_ours_is_no_unknown_operation(app: Flask, breaking: Breaking, error: Exception) -> None:
    breaking.error = error
    answer = ask(app)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (500, "InternalFailure")


def test_what_breaks_behind_the_answer_is_no_unknown_operation_either(app: Flask) -> None:
    def lose(_: Any) -> Any:
        raise OSError(errno.EIO, "I/O error")

    app.after_request(lose)
    answer = ask(app)
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (500, "InternalFailure")
