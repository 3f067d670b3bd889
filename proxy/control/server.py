"""HTTP over the control socket, for the command line, health checks and Prometheus: answers by the table of routes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from aiohttp import web

from proxy.control import place
from proxy.control.errors import Wrong
from proxy.control.filters import matcher
from proxy.control.parameters import read_all
from proxy.control.routes import Asked, Listing, Peer, Route, Single, Stream, Text

# Sending so many rows takes about a millisecond. Ten thousand calls have forty thousand rows, and nobody in a call
# should hear them being sent.
ROWS_AT_ONCE = 64

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
    ) -> None:
        """`bound` makes the socket at `path` and `removed` takes it away; by default this process does both itself."""
        self._bind = bound or partial(place.bind, path)
        self._remove = removed or partial(place.remove, path)
        app = web.Application(middlewares=[_explained])
        for route in routes:
            app.router.add_route(route.method, _pattern(route), _handler(route))
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        """Begin to serve. Raises SocketError when the path cannot be used or another daemon answers there."""
        sock = self._bind()
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        """Stop serving and remove the socket."""
        await self._runner.cleanup()
        self._remove()


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


def _handler(route: Route) -> Handler:
    """What answers requests for this route."""
    parameters = route.all_parameters

    def read(request: web.Request) -> Asked:
        texts: Sequence[tuple[str, str]] = list(request.query.items())
        return Asked(read_all(parameters, texts), peer_of(request), request.match_info.get("id", ""))

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

            async def text(_: web.Request) -> web.StreamResponse:
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


def peer_of(request: web.Request) -> Peer:
    """Who asks. A peer that is gone already is nobody."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return Peer(-1, -1, 0)
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(uid, gid, pid)
