"""Whoever listens to a guard: the daemon, which tells what is missing, and commands that want something of it.

A guard that keeps the rules has an entrance in its network namespace (`entrances`), as the rules are there; only root's
is believed. A guard tells each listener what is missing as lines of JSON:

    {"missing": [...], "at": 123.4, "sees_rules": true, "keeps": true, ...}                  whenever that changes
    {"done": "apply", "problem": null}                                                       the answer to a wish
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Container, Iterator
from typing import Any

from proxy.errors import NetError
from proxy.host import entrances

ENTRANCE = "guard"
"""The kind of a guard's entrance."""
ANSWER_SECONDS = 60
"""How long a guard may take for a wish. It runs a dozen commands, and waits for others that change rules."""
_RECEIVE_BYTES = 1 << 17

Line = dict[str, Any]


class Link:
    """One end of the line to a guard, which belongs to whoever listens."""

    def __init__(self, sock: socket.socket, pid: int | None = None) -> None:
        """`pid` is the guard, if it is a child of this process."""
        self.sock = sock
        self._pid = pid
        self._unread: list[Line] = []

    @property
    def is_own(self) -> bool:
        """Whether the guard is a child of this process, and ends with it."""
        return self._pid is not None

    def lines(self) -> Iterator[Line]:
        """The lines that have come. Raises EOFError when the guard has ended."""
        while self._unread:
            yield self._unread.pop(0)
        while (line := self._receive(socket.MSG_DONTWAIT)) is not None:
            yield line

    def wish(self, name: str, **facts: Any) -> None:
        """Tell the guard a wish. Its answer is one of the next lines. Raises NetError when the guard has ended."""
        try:
            self.sock.send(json.dumps({"wish": name, **facts}).encode())
        except OSError as error:
            raise NetError(f"the process that guards rules and routes has ended ({error.strerror})") from None

    def ask(self, name: str, **facts: Any) -> None:
        """Tell the guard a wish and wait until it is done. Raises NetError with the problem."""
        self.sock.settimeout(ANSWER_SECONDS)
        try:
            # A guard that does not know this user hangs up, before the wish is told or after.
            with contextlib.suppress(NetError):
                self.wish(name, **facts)
            while (line := self._receive()) is not None:
                if line.get("done") != name:
                    self._unread.append(line)
                    continue
                if line["problem"]:
                    raise NetError(str(line["problem"]))
                return
        except EOFError:
            raise NetError(
                f"the guard of rules and routes has ended, or does not know user {os.geteuid()}: it listens to root "
                f"and to the user that serves (`user` of its configuration)"
            ) from None
        except TimeoutError:
            raise NetError("the process that guards rules and routes does not answer") from None
        finally:
            self.sock.setblocking(False)

    def first(self) -> Line:
        """What the guard says when one comes. It is {} when the guard says nothing."""
        self.sock.settimeout(ANSWER_SECONDS)
        try:
            return self._receive() or {}
        except (EOFError, TimeoutError):
            return {}
        finally:
            self.sock.setblocking(False)

    def lasts(self, seconds: float) -> Line | None:
        """What the guard has said last, if it is still there after this time. None: it has ended."""
        said: Line = {}
        self.sock.settimeout(seconds)
        try:
            while True:
                said = self._receive() or said
        except TimeoutError:
            return said
        except EOFError:
            return None
        finally:
            self.sock.setblocking(False)

    def end(self) -> None:
        """Listen no longer. A guard that is a child of this process ends."""
        self.sock.close()
        if self._pid is not None:
            os.waitpid(self._pid, 0)

    def _receive(self, flags: int = 0) -> Line | None:
        """The next line. None: there is none yet. Raises EOFError."""
        try:
            data = self.sock.recv(_RECEIVE_BYTES, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            raise EOFError from None
        if not data:
            raise EOFError
        line = json.loads(data)
        assert isinstance(line, dict)
        return line


def find(of: Container[int] = (0,), patience: float = entrances.BUSY_SECONDS) -> Link | None:
    """The guard that keeps the rules of this network namespace, if one of these users has one there."""
    sock = entrances.enter(ENTRANCE, of, patience)
    return None if sock is None else Link(sock)


def let_go(say: Callable[[str], None]) -> None:
    """Have a guard, if there is one, leave the rules alone until they are set up again. Raises NetError."""
    if (link := find()) is not None:
        with contextlib.closing(link.sock):
            link.ask("rest")
        say("the guard lets rules and routes go, until they are set up again")


def agree_on(backend: str) -> None:
    """Raises NetError when a guard, if there is one, keeps rules by the other backend, and would put them back."""
    if (link := find()) is None:
        return
    with contextlib.closing(link.sock):
        said = link.first()
    if said.get("keeps") and said["backend"] not in (None, backend):
        raise NetError(
            f"`pinhole {said['command']}` keeps rules by {said['backend']} here, and would put them back: end it, or "
            f"start it with `--backend {backend}`"
        )
