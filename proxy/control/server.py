"""HTTP over the control socket, for the command line, health checks and Prometheus: answers by the table of routes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.control import place
from proxy.control.errors import Wrong, forbidden
from proxy.control.filters import matcher
from proxy.control.gate import Gate
from proxy.control.parameters import read_all
from proxy.control.rights import Rights, peer_of
from proxy.control.routes import Asked, Listing, Route, Single, Stream, Text

# Sending so many rows takes about a millisecond. Ten thousand calls have forty thousand rows, and nobody in a call
# should hear them being sent.
ROWS_AT_ONCE = 64
MOST_LINE_BYTES = 64 * 1024
"""A request with all its filters is one line."""
SHUTDOWN_SECONDS = 1.0
"""For answers that are under way when the daemon ends."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """The server on the control socket. It answers by the table of routes that it is given, and does not know what the
    routes are for."""

    def __init__(
        self,
        path: str,
        routes: Iterable[Route],
        bound: Callable[[], socket.socket] | None = None,
        removed: Callable[[], None] | None = None,
        rights: Rights | None = None,
    ) -> None:
        """`bound` makes the socket at `path` and `removed` takes it away; by default this process does both itself."""
        self.rights = rights or Rights()
        """What each peer may do. They may change while the socket is served."""
        self._bind = bound or partial(place.bind, path, None, self.rights.are_for_all)
        self.remove = removed or partial(place.remove, path)
        """Takes the socket's file away at the end."""
        app = web.Application(middlewares=[_explained])
        for route in routes:
            app.router.add_route(route.method, _pattern(route), _handler(route, lambda: self.rights))
        how: dict[str, Any] = {
            "handle_signals": False,
            "shutdown_timeout": SHUTDOWN_SECONDS,
            "max_line_size": MOST_LINE_BYTES,
            "logger": _LOGGER,
        }
        self._runner = web.AppRunner(app, access_log=None, **how)
        self._gate: Gate | None = None

    async def start(self) -> None:
        """Begin to serve. Raises SocketError when the path cannot be used or another daemon answers there."""
        sock = self._bind()
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(sock, self._runner.server, lambda: self.rights)

    async def stop(self) -> None:
        """Stop serving and remove the socket."""
        if self._gate is not None:
            await self._gate.close()
        await self._runner.cleanup()
        self.remove()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether it is a fault of the HTTP server. What a peer has written wrong is none, and is answered to the peer."""
    fault = None if record.exc_info is None else record.exc_info[1]
    return not isinstance(fault, HttpProcessingError | web.RequestPayloadError)


_LOGGER = logging.getLogger(__name__)
"""Where the HTTP server tells of its faults."""
_LOGGER.addFilter(_is_ours)


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON also when the request is not done."""
    try:
        return await handler(request)
    except Wrong as wrong:
        return _refused(wrong)
    except web.HTTPNotFound:
        remedy = "GET /v1/openapi.json says what there is"
        return _refused(Wrong(404, "no_such_path", f"there is no {request.path[:64]}", remedy))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        refused = _refused(Wrong(405, "wrong_method", f"{error.method} does nothing there", f"ask by {allowed}"))
        refused.headers["Allow"] = allowed
        return refused


def _refused(wrong: Wrong) -> web.Response:
    return web.json_response(wrong.row, status=wrong.status)


def _pattern(route: Route) -> str:
    """The path as aiohttp writes it. A name may have slashes, as some Call-IDs have."""
    return route.path.replace("{id}", "{id:.+}")


def _handler(route: Route, rights: Callable[[], Rights]) -> Handler:
    """What answers requests for this route."""
    parameters = route.all_parameters

    def read(request: web.Request) -> Asked:
        peer, groups = peer_of(request.transport)
        if route.right not in rights().of(peer, groups):
            raise forbidden()
        texts: Sequence[tuple[str, str]] = list(request.query.items())
        return Asked(read_all(parameters, texts), peer, request.match_info.get("id", ""))

    match route.answer:
        case Listing() as listing:
            return partial(_list, listing, read, route.is_old)
        case Single(_, make):

            async def answer(request: web.Request) -> web.StreamResponse:
                made = make(read(request))
                return web.json_response(await made if inspect.isawaitable(made) else made)

            return answer
        case Stream(_, items):

            async def stream(request: web.Request) -> web.StreamResponse:
                return await _stream(request, items(read(request)))

            return stream
        case Text(content_type, make_text):

            async def text(request: web.Request) -> web.StreamResponse:
                read(request)
                status, body = await make_text()
                return web.Response(status=status, body=body, headers={"Content-Type": content_type})

            return text


async def _list(
    listing: Listing, read: Callable[[web.Request], Asked], is_old: bool, request: web.Request
) -> web.StreamResponse:
    """Answer with a list, a few rows at a time."""
    asked = read(request)
    rows, is_wanted = iter(listing.rows(asked)), (lambda _: True) if is_old else matcher(listing.shape, asked.query)
    left = asked.query.get("limit", sys.maxsize)
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    with contextlib.suppress(ConnectionError):  # the reader has gone away
        await response.prepare(request)
        await response.write(f'{{"{listing.name}": ['.encode())
        between = ""
        while left and (some := list(islice(rows, ROWS_AT_ONCE))):
            if wanted := [json.dumps(row) for row in some if is_wanted(row)][:left]:
                await response.write((between + ", ".join(wanted)).encode())
                between = ", "
                left -= len(wanted)
            await asyncio.sleep(0)  # packets that have arrived meanwhile come first
        await response.write(b"]}")
    return response


async def _stream(request: web.Request, items: Any) -> web.StreamResponse:
    """Answer with server-sent events until the reader goes away."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        async with contextlib.aclosing(items):
            async for name, data in items:
                await response.write(f"event: {name}\ndata: {data}\n\n".encode())
    return response
