"""A small process beside the serving one, which keeps the rights that the serving one gives up.

    root: rules up --fork--> keeper: waits for wishes, takes the rules down at the end
             |
             +--> becomes an ordinary user with two capabilities, serves

Peers never reach the keeper: it opens no socket towards them and reads no byte of theirs. The wishes that it can be
asked for are fixed before the first packet comes: the configuration, the audit log, the control socket, the end. It
also opens files that only root may open, when the configuration is read again or the log is rotated: those that the
configuration names, which it reads itself.

When the serving process ends without a word (it was killed), the rules stay: `on_daemon_down` decides what passes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from proxy.errors import NetError, PinholeError, SocketError
from proxy.host import beside, privileges

KEPT = frozenset({privileges.NET_ADMIN, privileges.NET_RAW, privileges.DAC_OVERRIDE, privileges.CHOWN})
"""The rights that the keeper needs: rules and routes (iptables asks by a raw socket); files and directories of
whichever user the operator chose; and the group of the control socket."""

_MAX_MESSAGE = 65536
_ERRORS: Mapping[str, type[PinholeError]] = {kind.__name__: kind for kind in (NetError, PinholeError, SocketError)}

Wish = Callable[[], int | None]
"""What the keeper does when it is asked. A descriptor that it returns goes to the serving process, and is closed
here."""


class Keeper:
    """The serving process's side of the keeper."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self._pid = pid
        self._sock = sock
        self._lock = threading.Lock()  # the thread of the audit log asks too

    def ask(self, wish: str) -> int | None:
        """Ask for a wish. Returns a descriptor, if the wish has one. Raises what the wish raised (OSError,
        PinholeError), and PinholeError when the keeper is gone."""
        try:
            with self._lock:
                self._sock.send(wish.encode())
                data, descriptors, _, _ = socket.recv_fds(self._sock, _MAX_MESSAGE, 1)
        except OSError as error:
            raise PinholeError(f"the process that keeps root's rights has ended ({error.strerror})") from error
        if not data:
            raise PinholeError("the process that keeps root's rights has ended")
        answer = json.loads(data)
        if "errno" in answer:
            raise OSError(answer["errno"], answer["text"])
        if "text" in answer:
            raise _ERRORS.get(answer["kind"], PinholeError)(answer["text"])
        return descriptors[0] if descriptors else None

    def descriptor(self, wish: str) -> int:
        """Like `ask`, for a wish that always returns a descriptor."""
        descriptor = self.ask(wish)
        assert descriptor is not None
        return descriptor

    def end(self, wish: str) -> None:
        """Ask for the last wish, after which the keeper ends. Raises the same errors as `ask`."""
        try:
            self.ask(wish)
        finally:
            self._sock.close()
            os.waitpid(self._pid, 0)


def fork_keeper(
    wishes: Mapping[str, Wish], last: str, deserted: Callable[[], None], of_others: Iterable[socket.socket] = ()
) -> Keeper:
    """Start the keeper. This must be called before there is a second thread. `last` is the wish after which the keeper
    ends. `deserted` is what it does when the serving process is gone without having asked for that wish. `of_others`
    are sockets to other processes, which the keeper closes so that those processes notice the end of the serving one
    too. Raises PinholeError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def work() -> int:
        for sock in (ours, *of_others):
            sock.close()
        return _serve(theirs, wishes, last, deserted)

    pid = beside.start(KEPT, work)
    theirs.close()
    return Keeper(pid, ours)


def _serve(sock: socket.socket, wishes: Mapping[str, Wish], last: str, deserted: Callable[[], None]) -> int:
    """Grant wishes until the last one, or until the serving process is gone."""
    while wish := _next(sock):
        answer, descriptor = _grant(wishes.get(wish, _unknown))
        with contextlib.suppress(ConnectionError):  # the serving process is gone
            socket.send_fds(sock, [json.dumps(answer).encode()], [] if descriptor is None else [descriptor])
        if descriptor is not None:
            os.close(descriptor)
        if wish == last:
            return 0
    deserted()
    return 1


def _unknown() -> None:
    raise PinholeError("the process that keeps root's rights does not do that")


def _next(sock: socket.socket) -> str:
    """The name of the next wish. It is "" when the serving process is gone, even if it has left an answer unread."""
    try:
        return sock.recv(_MAX_MESSAGE).decode()
    except ConnectionResetError:
        return ""


def _grant(wish: Wish) -> tuple[dict[str, Any], int | None]:
    """Grant one wish. Returns the answer, and the descriptor if there is one."""
    try:
        return {}, wish()
    except PinholeError as error:
        return {"kind": type(error).__name__, "text": str(error)}, None
    except OSError as error:
        return {"errno": error.errno, "text": error.strerror}, None
