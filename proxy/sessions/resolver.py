"""Names into addresses, for engines that have to know where a name leads.

The resolver of this host answers only a caller that waits, so each name has a thread of its own. An answer that does
not come in time is no answer; the thread goes on for as long as the resolver takes, but its answer is dropped, and the
daemon's end does not wait for it. An engine that asks for a name already being asked for waits for the same answer:
when a cluster fails over, all its clients come at once, with one name.

Servers choose the names. So the threads are limited for each server, and one that names hosts which no resolver knows
cannot use up the threads of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address

from protocols.contract.addresses import Host

SECONDS = 5.0
"""The time that a resolver waits for its first server (resolv.conf(5))."""
MAX_THREADS = 64
MAX_THREADS_PER_SERVER = 8
"""How many nodes of a cluster one listener may send its clients to at the same moment."""

Answered = Callable[[tuple[Host, ...]], None]


class _Question:
    """One name that is being asked for, and the engines that wait for its answer."""

    __slots__ = ("answered", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.answered: list[Answered] = []
        self.timer = timer


class Resolver:
    """Asks for names in threads, and calls back in the loop. The registry of sessions owns it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._questions: dict[str, _Question] = {}
        self._threads: Counter[Host] = Counter()
        """How many threads run for each server that named something."""

    def __len__(self) -> int:
        """How many names are being asked for."""
        return len(self._questions)

    def ask(self, name: str, server: Host, answered: Answered) -> None:
        """Ask for a name that `server` has named. `answered` is called once, later, with an empty tuple when there is
        no answer."""
        if (question := self._questions.get(name)) is not None:
            question.answered.append(answered)
        elif self._threads.total() >= MAX_THREADS or self._threads[server] >= MAX_THREADS_PER_SERVER:
            self._loop.call_soon(answered, ())
        else:
            question = _Question(self._loop.call_later(SECONDS, self._answer, name, ()))
            question.answered.append(answered)
            thread = threading.Thread(target=self._look_up, args=(name, server, question), name="resolve", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # this process may start no more threads
                question.timer.cancel()
                self._loop.call_soon(answered, ())
                return
            self._questions[name] = question
            self._threads[server] += 1

    def _look_up(self, name: str, server: Host, question: _Question) -> None:
        """The work of one thread."""
        hosts: tuple[Host, ...] = ()
        # there is no such name, or it cannot be a name
        with contextlib.suppress(OSError, ValueError):
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            hosts = tuple(dict.fromkeys(ip_address(str(address[0]).partition("%")[0]) for *_, address in found))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._found, name, server, question, hosts)

    def _found(self, name: str, server: Host, question: _Question, hosts: tuple[Host, ...]) -> None:
        """A thread has its answer. It counts only if the question has not timed out meanwhile."""
        self._threads[server] -= 1
        if not self._threads[server]:
            del self._threads[server]
        if self._questions.get(name) is question:  # otherwise the question has timed out
            self._answer(name, hosts)

    def _answer(self, name: str, hosts: tuple[Host, ...]) -> None:
        question = self._questions.pop(name)
        question.timer.cancel()
        for answered in question.answered:
            answered(hosts)

    def close(self) -> None:
        """Drop every question; no caller is answered any more."""
        for question in self._questions.values():
            question.timer.cancel()
        self._questions.clear()
