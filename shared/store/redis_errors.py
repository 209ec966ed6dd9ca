"""Errors of Redis' state: it is unreachable, or refuses a command (no memory, no disk, a replica, another password).

The command is not at fault: the state may pass, and the same command will succeed. The codes are Redis' own; the error
of a script carries the code of the command in it.
"""

from __future__ import annotations

import sys

import redis.exceptions

from shared.store.data_format import NewerRedis

_UNREACHABLE = "The store does not answer at the moment. Please try again."
_NO_SPACE = "The store can't write to its disk: there is no space left, or the disk fails. Nothing was changed."
_NO_ENTRY = "The store does not let this service in: its password or its rights have changed."
_ELSEWHERE = "The store answers reads alone at the moment: another server has taken its place."
_STARTING = "The store is being started or moved at the moment. Please try again."

#: First word of the error -> sentence for the client.
_SENTENCES = {
    "OOM": "The store has no memory left for writes (maxmemory); reads go on. Nothing was changed.",
    "MISCONF": _NO_SPACE,
    "READONLY": _ELSEWHERE,
    "NOREPLICAS": "The store has too few replicas at the moment to take writes. Please try again.",
    "MASTERDOWN": _ELSEWHERE,
    "NOAUTH": _NO_ENTRY,
    "WRONGPASS": _NO_ENTRY,
    "NOPERM": _NO_ENTRY,
    "DENIED": _NO_ENTRY,
    "LOADING": _STARTING,
    "BUSY": "The store is busy with a script at the moment. Please try again.",
    "UNKILLABLE": "The store is busy with a script at the moment. Please try again.",
    "CLUSTERDOWN": _STARTING,
    "TRYAGAIN": _STARTING,
    "MOVED": _ELSEWHERE,
    "ASK": _ELSEWHERE,
}
#: redis-py strips the first word of the errors that it has a class for.
_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.OutOfMemoryError, "OOM"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.AuthenticationError, "NOAUTH"),
    (redis.exceptions.BusyLoadingError, "LOADING"),
    (redis.exceptions.MasterDownError, "MASTERDOWN"),
    (redis.exceptions.ClusterDownError, "CLUSTERDOWN"),
)


def get_refusal_code(error: BaseException) -> str | None:
    """Return the code of the refusal, as "OOM"; None for other errors: a bad command, or no answer of Redis."""
    for kind, word in _BY_CLASS:
        if isinstance(error, kind):
            return word
    if not isinstance(error, redis.exceptions.RedisError):
        return None
    # In the error of a pipeline redis-py first names the command.
    word = str(error).rpartition(" caused error: ")[2].partition(" ")[0].rstrip(":")
    return word if word in _SENTENCES else None


def describe_error(error: BaseException) -> str | None:
    """Return a sentence on Redis' state that is fit for clients; None for all other errors."""
    if is_redis_unreachable(error):
        return _UNREACHABLE
    if isinstance(error, NewerRedis):
        return str(error)
    word = get_refusal_code(error)
    return None if word is None else _SENTENCES[word]


def is_redis_unavailable(error: BaseException) -> bool:
    """Whether Redis is unreachable or refuses commands because of its state, so that a retry later may succeed."""
    return is_redis_unreachable(error) or isinstance(error, NewerRedis) or get_refusal_code(error) is not None


def is_redis_unreachable(error: BaseException) -> bool:
    """Whether the store or the queue got no connection to Redis, or no answer."""
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return get_refusal_code(error) is None
    # kombu is large: a process that has not loaded it can't have one of its errors.
    kombu = sys.modules.get("kombu.exceptions")
    return kombu is not None and isinstance(error, kombu.OperationalError)
