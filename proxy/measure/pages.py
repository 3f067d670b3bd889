"""What those who watch a daemon ask by HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever starts,
balances or fails over. The control socket has these pages, and an address of TCP if the configuration names one.

The pages tell numbers and the state of the daemon, no address and no name of a peer. They change nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from protocols.contract.addresses import Endpoint
from proxy.errors import SocketError
from proxy.measure.exposition import CONTENT_TYPE, Exposition
from proxy.measure.health import Health

MOST_CONNECTIONS = 64
"""Each takes a descriptor, and Prometheus needs one. One more ends the oldest, so that whoever holds many and asks
nothing shuts nobody out."""

IDLE_SECONDS = 120.0
"""Between two requests of one connection. Prometheus asks every 15 to 60."""

SHUTDOWN_SECONDS = 1.0
"""For answers that are under way when the daemon ends."""


@dataclass(frozen=True, slots=True)
class Page:
    """Something to be read."""

    path: str
    summary: str
    content_type: str
    make: Callable[[], Awaitable[tuple[int, bytes]]]
    """Returns the status of HTTP and the text."""
    may_fail: tuple[int, ...] = ()
    """The statuses that say that something is wrong."""


def pages(exposition: Exposition, health: Health) -> Sequence[Page]:
    """The pages of one daemon, for any server."""

    async def metrics() -> tuple[int, bytes]:
        return 200, await exposition.render()

    async def alive() -> tuple[int, bytes]:
        # Whoever hears this knows that the loop runs. Only a restart helps where no answer comes.
        return 200, b'{"alive": true}'

    async def ready() -> tuple[int, bytes]:
        report = health.report()
        return 200 if report["ready"] else 503, json.dumps(report).encode()

    return (
        Page("/metrics", "The metrics, for Prometheus", CONTENT_TYPE, metrics),
        Page("/healthz", "Whether the daemon lives", "application/json; charset=utf-8", alive),
        Page("/readyz", "Whether it can serve new sessions", "application/json; charset=utf-8", ready, (503,)),
    )


class PagesListener:
    """Serves the pages at an address of TCP, which others than this host may reach."""

    def __init__(self, pages: Sequence[Page], at: Endpoint) -> None:
        app = web.Application()
        for page in pages:
            app.router.add_get(page.path, _answering(page))
        self._at = at
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to serve. Raises SocketError when the address cannot be had."""
        await self._runner.setup()
        family = socket.AF_INET6 if self._at.host.version == 6 else socket.AF_INET
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._protocol, self._at.host_text, self._at.port, family=family
            )
        except OSError as error:
            raise SocketError(
                f"metrics: cannot listen on {self._at}: {error.strerror}; `metrics: listen` chooses another address"
            ) from error

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where the pages are."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        standing = [one for one in map(_transport_of, server.connections) if one is not None and not one.is_closing()]
        if len(standing) >= MOST_CONNECTIONS:
            standing[0].abort()  # a close would wait for a peer that does not read
        return server()

    async def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


def _answering(page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        status, body = await page.make()
        return web.Response(status=status, body=body, headers={"Content-Type": page.content_type})

    return answer


def _transport_of(connection: asyncio.BaseProtocol) -> asyncio.Transport | None:
    return getattr(connection, "transport", None)
