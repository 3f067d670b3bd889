"""The gate of the control socket: it lets in whoever may ask something, and tells all others at once that they may not.

With groups in the configuration every user of this host may open the socket. A flood of strangers must cost those in a
call nothing, so not a byte of a stranger is read, and the gate rests after each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable, Collection
from http import HTTPStatus

from aiohttp import web

from proxy.control.errors import Wrong, forbidden
from proxy.control.rights import Rights, peer_at
from proxy.control.routes import Peer

MOST_CONNECTIONS = 256
"""Each takes a descriptor. Root is let in beyond that."""
REST_SECONDS = 0.005
"""The rest after somebody was turned away. A flood takes a few hundredths of the loop's time by it, and whoever waits
behind a full backlog is let in within a second."""
BACKLOG = 128
REFUSED_SECONDS = 1.0
"""So long a stranger has to read the answer. A close would take it away from one that is still asking."""
MOST_REFUSED = 64
"""So many strangers have that time at once. Then the first of them loses it."""
RETRY_SECONDS = 0.2
"""The pause when there is no descriptor for whoever comes. Meanwhile he waits in the backlog."""

_FULL = Wrong(
    503,
    "too_many_connections",
    f"{MOST_CONNECTIONS} connections to the control socket are open",
    "end some of those who follow (`pinhole events`, `pinhole trace`), or ask as root",
)


class Gate:
    """Accepts connections to the control socket, and hands those that are let in to the HTTP server."""

    def __init__(self, listener: socket.socket, server: web.Server, rights: Callable[[], Rights]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._server = server
        self._rights = rights
        self._refused: deque[socket.socket] = deque()
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._accepting = self._loop.create_task(self._accept(), name="control socket")

    async def close(self) -> None:
        """Accept nobody any more. Connections that were let in go on."""
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))
        self._listener.close()
        for sock in self._refused:
            sock.close()

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._listener)
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if (refusal := self._refusal(*peer_at(sock))) is not None:
                self._turn_away(sock, refusal)
                await asyncio.sleep(REST_SECONDS)
                continue
            try:
                await self._loop.connect_accepted_socket(self._server, sock)
            except OSError:
                sock.close()

    def _refusal(self, peer: Peer, groups: Collection[int]) -> Wrong | None:
        """Why this peer is not let in. None: it is."""
        if not self._rights().of(peer, groups):
            return forbidden()
        return _FULL if peer.uid != 0 and len(self._server.connections) >= MOST_CONNECTIONS else None

    def _turn_away(self, sock: socket.socket, refusal: Wrong) -> None:
        body = json.dumps(refusal.row).encode()
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):  # it has gone already
            sock.send(head.encode() + body)
            sock.shutdown(socket.SHUT_WR)
        self._loop.call_later(REFUSED_SECONDS, sock.close)
        self._refused.append(sock)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popleft().close()
