"""The control socket of a daemon: where it stands, and how a reload moves it or changes who may use it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from proxy.config.schema import ControlSocket
from proxy.control.rights import Rights
from proxy.control.routes import Route
from proxy.control.server import Control
from proxy.errors import PinholeError, SocketError
from proxy.host import privileges
from proxy.host.keeper import Keeper


class Answering:
    """Answers at the control socket. The daemon owns it."""

    def __init__(
        self,
        keeper: Keeper | None,
        routes: Callable[[], Iterable[Route]],
        hold: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`keeper` makes and removes the socket where this process may not. `hold` does something beside all else."""
        self._keeper = keeper
        self._routes = routes
        self._hold = hold
        self._control: Control | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there is a socket, which is ours to remove."""
        return self._control is not None

    async def start(self, at: ControlSocket) -> None:
        """Answer there from now on. Raises PinholeError."""
        self._control = await self._begin(at)

    async def stop(self) -> None:
        """Answer no more, and remove the socket."""
        if self._control is not None:
            await self._control.stop()

    @contextlib.asynccontextmanager
    async def changed(self, before: ControlSocket, fresh: ControlSocket) -> AsyncIterator[None]:
        """Do what may fail at the fresh socket. Whatever is done meanwhile decides: once that is done the fresh one
        stands alone, and if it raises the one before does, as if nothing had been asked. Raises PinholeError."""
        standing = self._control
        if standing is None or fresh == before:
            yield
        elif fresh.path == before.path:
            rights = _rights_there(fresh, before)
            yield
            standing.rights = rights
        else:
            moved = await self._begin(fresh)
            try:
                yield
            except BaseException:
                if self._keeper is not None:
                    moved.remove = self._take_back
                await moved.stop()
                raise
            self._hold(standing.stop())  # whoever has asked for the reload is answered there first
            self._control = moved

    async def _begin(self, at: ControlSocket) -> Control:
        """The control socket there, which answers from now on. Raises PinholeError."""
        bound, removed = (self._kept, self._forget) if self._keeper else (None, None)
        control = Control(at.path, self._routes(), bound, removed, _rights(at))
        await control.start()
        return control

    # -- the keeper's socket ------------------------------------------------------------------------------------------

    def _kept(self) -> socket.socket:
        """The control socket, made by the keeper. Raises PinholeError."""
        assert self._keeper is not None
        if (descriptor := self._keeper.ask("control")) is None:  # it was made, and could not be received
            self._take_back()
            raise SocketError(f"control socket: {os.strerror(errno.EMFILE)}")
        return socket.socket(fileno=descriptor)

    def _forget(self) -> None:
        """Have the keeper remove the socket that has stood longest."""
        self._wish("forget-control")

    def _take_back(self) -> None:
        """Have the keeper remove the socket that it has made last."""
        self._wish("take-back-control")

    def _wish(self, wish: str) -> None:
        assert self._keeper is not None
        with contextlib.suppress(PinholeError):
            self._keeper.ask(wish)


def _rights(at: ControlSocket) -> Rights:
    """Who may look and change by this socket. Raises PinholeError when there is no such group."""
    return Rights(*(None if name is None else privileges.group(name) for name in (at.look, at.change)))


def _rights_there(fresh: ControlSocket, before: ControlSocket) -> Rights:
    """The rights by the socket that stands. Raises PinholeError when others would have to be able to open it."""
    if fresh.is_for_group != before.is_for_group:
        raise PinholeError("control: groups where there were none, or the reverse, need a restart, or another path")
    return _rights(fresh)
