"""gunicorn's worker that runs an event loop: gunicorn holds the listening sockets, starts a worker that died again, and
kills one that no longer turns. The application is called with the sockets, what stops it, and the seconds it has then.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal

from gunicorn.workers import base

#: Before gunicorn kills a worker that was told to end (seconds).
MARGIN = 1.0
BEAT = 1.0


class Worker(base.Worker):  # type: ignore[misc]
    """For `--worker-class`."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        # What is there now stays: to look through all of it for garbage, again and again, holds up every call.
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
        await self.wsgi([each.sock for each in self.sockets], stop, max(0.0, self.cfg.graceful_timeout - MARGIN))
        beating.cancel()

    async def _send_heartbeats(self, stop: asyncio.Event) -> None:
        while True:
            self.notify()
            if os.getppid() != self.ppid:  # gunicorn was killed
                stop.set()
            await asyncio.sleep(BEAT)
