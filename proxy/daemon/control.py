"""The control socket: HTTP over UNIX for the command line, health checks and Prometheus.

GET /status  /sessions  /pinholes  /metrics      POST /reload
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy.errors import SocketError
from proxy.record.metrics import Metrics

Report = Callable[[], dict[str, Any]]
Table = Callable[[], Iterable[dict[str, Any]]]
"""A function that returns the rows of a table. Each row is made when it is taken."""

# Sending so many rows takes about a millisecond. Ten thousand calls have forty thousand rows, and nobody in a call
# should hear them being sent.
ROWS_AT_ONCE = 64


class Control:
    """The server on the control socket. It serves the reports and tables that it is given, and does not know what is in
    them."""

    def __init__(
        self,
        path: str,
        reports: Mapping[str, Report],
        tables: Mapping[str, Table],
        metrics: Metrics,
        reload: Callable[[], Awaitable[dict[str, Any]]],
        bound: Callable[[], socket.socket] | None = None,
        removed: Callable[[], None] | None = None,
    ) -> None:
        """`bound` makes the socket at `path` and `removed` takes it away; by default this process does both itself."""
        self._bind = bound or partial(bind, path)
        self._remove = removed or partial(remove, path)
        app = web.Application()
        for name, report in reports.items():
            app.router.add_get(f"/{name}", _answering(report))
        for name, table in tables.items():
            app.router.add_get(f"/{name}", _listing(name, table))

        async def answer_metrics(_: web.Request) -> web.Response:
            return web.Response(body=metrics.exposition(), content_type="text/plain", charset="utf-8")

        async def answer_reload(_: web.Request) -> web.Response:
            return web.json_response(await reload())

        app.router.add_get("/metrics", answer_metrics)
        app.router.add_post("/reload", answer_reload)
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


def bind(path: str, group: int | None = None) -> socket.socket:
    """Make the control socket, for its owner and its group alone. `group` names another group than this process has.
    Raises SocketError when the path cannot be used or another daemon answers there."""
    at = Path(path)
    try:
        at.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(at)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o117)  # only owner and group may talk to the daemon, from the first instant on
        try:
            sock.bind(path)
            if group is not None:
                os.chown(path, -1, group, follow_symlinks=False)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
    except OSError as error:
        raise SocketError(
            f"control socket {path}: {error.strerror}; choose another `control:` path or give the daemon's "
            f"user a directory there (systemd: RuntimeDirectory=pinhole)"
        ) from error
    return sock


def remove(path: str) -> None:
    """Remove the control socket's file."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that was killed. A daemon that lives answers, and keeps its socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):  # a link to a socket is refused too, which may belong to another user
        raise SocketError(f"control socket {path}: there is a file that is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(str(path))
        raise SocketError(f"control socket {path}: another daemon serves there; stop it first")
    path.unlink()


def _answering(report: Report) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler that answers with this report."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(report())

    return answer


def _listing(name: str, table: Table) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The handler that answers with this table, a few rows at a time."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        await response.write(f'{{"{name}": ['.encode())
        rows, between = map(json.dumps, table()), ""
        while some := list(islice(rows, ROWS_AT_ONCE)):
            await response.write((between + ", ".join(some)).encode())
            between = ", "
            await asyncio.sleep(0)  # packets that have arrived meanwhile come first
        await response.write(b"]}")
        return response

    return answer
