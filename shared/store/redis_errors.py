"""What Redis answers when it is there and does not do as it is told: no memory, no disk, a replica, another password.

It is Redis' state and no fault of whoever asked: it may pass, and the same will be right then. Code and words of each
are Redis' own; a script's error bears the code of the command in it.
"""

from __future__ import annotations

import sys

import redis.exceptions

from shared.store.data_format import NewerRedis

_AWAY = "The store does not answer at the moment. Please try again."
_NO_SPACE = "The store can't write to its disk: there is no space left, or the disk fails. Nothing was changed."
_NO_ENTRY = "The store does not let this service in: its password or its rights have changed."
_ELSEWHERE = "The store answers reads alone at the moment: another server has taken its place."
_STARTING = "The store is being started or moved at the moment. Please try again."

#: First word of the error -> what a client is told.
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
#: redis-py takes the first word off what it has a class for.
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
    """The code of the refusal, as "OOM"; None for an error that is the asker's own, or no answer of Redis'."""
    for kind, word in _BY_CLASS:
        if isinstance(error, kind):
            return word
    if not isinstance(error, redis.exceptions.RedisError):
        return None
    # Of a pipeline redis-py says which command it was, first.
    word = str(error).rpartition(" caused error: ")[2].partition(" ")[0].rstrip(":")
    return word if word in _SENTENCES else None


def describe_error(error: BaseException) -> str | None:
    """What a client may be told of Redis' state; None of any other error."""
    if is_redis_unreachable(error):
        return _AWAY
    if isinstance(error, NewerRedis):
        return str(error)
    word = get_refusal_code(error)
    return None if word is None else _SENTENCES[word]


def is_redis_unavailable(error: BaseException) -> bool:
    """Is it Redis that is away or refuses, so that whatever was tried is to be tried again when it does not?"""
    return is_redis_unreachable(error) or isinstance(error, NewerRedis) or get_refusal_code(error) is not None


def is_redis_unreachable(error: BaseException) -> bool:
    """Is there no Redis to talk to, for the store or for the queue?"""
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return get_refusal_code(error) is None
    # Who has not loaded kombu, which is large, meets none of its errors.
    kombu = sys.modules.get("kombu.exceptions")
    return kombu is not None and isinstance(error, kombu.OperationalError)
