"""A gateway in a thread of its own, on a local port."""

from __future__ import annotations

import asyncio
import socket
import threading

from services.gateway.app import Gateway
from shared.settings import Settings


class Running:
    """A context manager that runs a gateway and returns its port."""

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(settings)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.call_soon(self._begun.set)
        await self.gateway([self._listener], self._stop, 0.0)

    def __enter__(self) -> int:
        self._thread.start()
        assert self._begun.wait(10)
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
