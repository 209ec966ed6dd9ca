"""A gunicorn worker with an event loop. gunicorn holds the listening sockets, restarts a worker that died, and kills
one that hangs. The application is called with the sockets, the event that stops it, and the seconds it then has.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal

from gunicorn.workers import base

#: Seconds that a stopping worker keeps in reserve before gunicorn kills it.
MARGIN_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0


class Worker(base.Worker):  # type: ignore[misc]
    """The worker class for `--worker-class`."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        # All objects so far live as long as the process: scanning them for garbage would hold up every call.
        gc.collect()
        gc.freeze()

    def init_signals(self) -> None:
        super().init_signals()
        signal.set_wakeup_fd(-1)  # the event loop sets its own

    def run(self) -> None:
        asyncio.run(self._run_application())

    async def _run_application(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        beating = asyncio.create_task(self._send_heartbeats(stop))
        await self.wsgi(
            [each.sock for each in self.sockets], stop, max(0.0, self.cfg.graceful_timeout - MARGIN_SECONDS)
        )
        beating.cancel()

    async def _send_heartbeats(self, stop: asyncio.Event) -> None:
        while True:
            self.notify()
            if os.getppid() != self.ppid:  # gunicorn was killed
                stop.set()
            await asyncio.sleep(HEARTBEAT_SECONDS)
