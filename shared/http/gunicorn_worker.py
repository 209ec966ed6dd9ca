"""gunicorn's threaded worker, with three differences.

It answers invalid HTTP with an error in AWS's form: gunicorn's own is HTML, which the JavaScript SDK cannot parse.
Errors of valid HTTP are answered by the applications.

No thread waits for the first bytes of a new connection.

While all threads are busy, one extra thread, which calls never get, answers /ping, /healthz, /readyz and /metrics: a
busy process is not taken for a dead one.
"""

from __future__ import annotations

import gc
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from shared.aws.errors import InternalFailure, PersonalizeError, Serialization
from shared.http.bare_response import build_bare_response, set_status
from shared.http.leader_followers import LeaderFollowers
from shared.observability.health import HEALTH_PATHS
from shared.system.cpu_quota import available_cpus
from shared.system.malloc import limit_arenas

#: Seconds that a client has to close a connection that will not be used again.
LINGER_SECONDS = 2.0

#: While all threads are busy, the worker looks this often (seconds) for health requests.
HEALTH_POLL_SECONDS = 0.2

#: The first bytes of a health request.
HEALTH_REQUEST_STARTS = tuple(f"GET {path}".encode() for path in ("/ping", *HEALTH_PATHS))


class ThreadedWorker(ThreadWorker):  # type: ignore[misc]
    """The `worker_class` of gunicorn's configuration. An application may ask for ``LeaderFollowers``."""

    leader_followers: LeaderFollowers | None = None

    def init_process(self) -> None:
        self._spare = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._busy = 0  # requests that the pool has not answered yet
        super().init_process()

    def load_wsgi(self) -> None:
        limit_arenas()
        super().load_wsgi()
        if getattr(self.wsgi, "leader_followers", False):
            self.leader_followers = LeaderFollowers(self.cfg.threads, available_cpus(), self._has_ready_request)
            self._ready: deque[TConn] = deque()
        # All objects so far live as long as the process: scanning them for garbage would take some 40 ms each time.
        gc.collect()
        gc.freeze()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Dispatch events. With LeaderFollowers only the leader touches the poller, or this thread if none leads."""
        if self.leader_followers is None:
            super().wait_for_and_dispatch_events(timeout)
        else:
            timeout = min(timeout, HEALTH_POLL_SECONDS) if self.leader_followers.is_exhausted() else timeout
            self.leader_followers.run_as_leader(partial(self._serve_as_leader, time.monotonic() + timeout), timeout)
            if self.leader_followers.is_exhausted():
                self._answer_health_requests()

    def _answer_health_requests(self) -> None:
        """Answer health requests on the extra thread, while no thread leads and none is free to."""
        super().wait_for_and_dispatch_events(0.0)
        for _ in range(len(self._ready)):
            conn = self._ready.popleft()
            if _is_health_request(conn):
                self._submit_request(self._spare, conn)
            else:
                self._ready.append(conn)

    def _serve_as_leader(self, until: float) -> None:
        """Wait for requests and answer them until ``until`` (monotonic seconds), or until another thread leads."""
        while True:
            for _ in range(len(self._ready)):
                if not self._answer_request(self._ready.popleft()):
                    return
            left = until - time.monotonic()
            accepts = self.nr_conns < self.worker_connections
            if left <= 0 or not self.alive or accepts != self._accepting:
                left = 0.0
            super().wait_for_and_dispatch_events(0.0 if self._ready else left)
            if left <= 0:
                return

    def _has_ready_request(self) -> bool:
        if not self._ready:
            super().wait_for_and_dispatch_events(0.0)
        return bool(self._ready)

    def _answer_request(self, conn: TConn) -> bool:
        """Answer one request. Returns whether this thread still leads."""
        assert self.leader_followers is not None  # noqa: S101
        self.leader_followers.begin_request()
        done: Future[Any] = Future()
        try:
            done.set_result(self.handle(conn))
        except BaseException as error:
            done.set_exception(error)
        if self.leader_followers.end_request():
            self.finish_request(conn, done)
            return True
        self.method_queue.defer(self.finish_request, conn, done)
        return False

    def handle_request(self, req: Any, conn: TConn) -> bool:
        joined = copy(conn)
        joined.sock = JoinedSocket(conn.sock)
        kept: bool = super().handle_request(req, joined)
        joined.sock.flush()
        return kept

    def enqueue_req(self, conn: TConn) -> None:
        if not (conn.initialized or conn.data_ready):
            conn.sock.setblocking(False)
            conn.set_timeout()
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
        elif self.leader_followers is not None:
            self._ready.append(conn)
        elif self._busy >= self.cfg.threads and _is_health_request(conn):
            self._submit_request(self._spare, conn)
        else:
            self._busy += 1
            self._submit_request(self.tpool, conn)

    def _submit_request(self, pool: Executor, conn: TConn) -> None:
        def finish(done: Future[Any]) -> None:
            if pool is self.tpool:
                self._busy -= 1
            self.finish_request(conn, done)

        pool.submit(self.handle, conn).add_done_callback(lambda done: self.method_queue.defer(finish, done))

    def finish_request(self, conn: TConn, done: Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None or not done.result():
            self._close_gracefully(conn)
        else:
            super().finish_request(conn, done)

    def _close_gracefully(self, conn: TConn) -> None:
        """Close the connection after the client has, so that the answer is not cut short.

        gunicorn would wait for the client here, up to LINGER_SECONDS, and all other requests with it.
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain_client, conn))
        except (OSError, ValueError):
            self._close_now(conn)  # the client closed it first
        else:
            conn.timeout = time.monotonic() + LINGER_SECONDS
            # First in the queue, because `murder_pending` stops at the first connection that has time left.
            self.pending_conns.appendleft(conn)

    def _drain_client(self, conn: TConn, client: socket.socket) -> None:
        with suppress(OSError):
            if client.recv(65536):
                return
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        self._close_now(conn)

    def _close_now(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer on the bare socket `client`; gunicorn closes it afterwards."""
        error = _convert_error(exc)
        if isinstance(error, InternalFailure):
            self.log.exception("Error handling request %s", getattr(req, "uri", ""))
        else:
            self.log.warning("Invalid request from %s: %s", addr[0] if addr else "", exc)
        try:
            util.write_nonblock(client, build_bare_response(error))
        except OSError as gone:
            self.log.debug("Client closed before the error response: %s", gone)


def _is_health_request(conn: TConn) -> bool:
    """Tell whether the received bytes, which are left in place, are the whole head of a health request."""
    try:
        ready: bytes = conn.sock.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return False
    return ready.startswith(HEALTH_REQUEST_STARTS) and b"\r\n\r\n" in ready


class JoinedSocket:
    """A socket that joins the first two ``sendall`` calls into one: gunicorn sends the head, then the body.

    If a process is killed in between, boto3 takes the head alone for an empty answer with status 200. ``flush`` sends a
    head that no body followed.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._head: bytes | None = None
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendall(self, data: bytes) -> None:
        if self._begun:
            head, self._head = self._head, None
            self._sock.sendall(data if head is None else head + data)
        else:
            self._begun, self._head = True, data

    def flush(self) -> None:
        if self._head is not None:
            self.sendall(b"")


def _convert_error(exc: Exception) -> PersonalizeError:
    match exc:
        case LimitRequestLine():
            return set_status(Serialization("The request line is too long."), HTTPStatus.REQUEST_URI_TOO_LONG)
        case LimitRequestHeaders():
            refusal = Serialization("The headers are too large.")
            return set_status(refusal, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        case ParseException():
            return Serialization("The request is not valid HTTP.")
    return InternalFailure("An internal error has occurred.")
