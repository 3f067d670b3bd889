"""The holder: the process that may load programs and attach them, so that the daemon need not.

    holder --tables, a link for each interface--> client (the daemon): puts rows in, reads counts
       '---hears of interfaces, policies, routing rules

Each client has a set of tables of its own, and a program with them at every interface. So during an upgrade two daemons
stand beside each other. The client owns its tables and links: when it dies, the kernel detaches all. The holder keeps
descriptors of the tables only to attach the program to interfaces that come later. It reads nothing that a client could
send: it hears when one hangs up, and that is all.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from proxy.ebpf import program
from proxy.ebpf.tables import Tables, make_tables
from proxy.holder import links, watching, wire
from proxy.holder.watching import Interface
from proxy.holder.wire import Kind, Off
from proxy.host import entrances

SETTLE_SECONDS = 0.05
"""How long to wait for the rest of a change. An interface that comes up is told of several times."""
RETRY_SECONDS = 60.0
"""After a kernel has refused the program. It may have been for want of memory."""
PAUSE_SECONDS = 0.2
"""Between two clients. Each costs a set of tables, and one that hangs up and comes again has them made anew."""
MOST_PROBLEMS = 1000
MOST_CLIENTS = 4
MOST_LINKS = 4096
"""Interfaces that a client gets links of; it holds a descriptor for each."""

Say = Callable[[str], None]


class Settings(NamedTuple):
    """What the configuration says to a holder."""

    user: int
    """The user that serves; nobody else is a client."""
    capacity: int
    """How many rows a client has."""
    interfaces: frozenset[str] | None = None
    """The names of those that programs are attached to. None: any."""
    heeds_marks: bool = True
    """Whether the program is off where routing rules ask for a mark."""


def refused(error: OSError) -> str:
    """The line about a kernel that takes no program. Where its verifier has said why, that is many lines."""
    return f"no media passes in the kernel, which refuses the program: {str(error.strerror).splitlines()[0]}"


class Once:
    """Tells each problem once, for the kernel tells of them with each news."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said: set[str] = set()

    def __call__(self, problem: str) -> None:
        if problem not in self._said and len(self._said) < MOST_PROBLEMS:
            self._said.add(problem)
            self._say(problem)


class Client:
    """A daemon that has been let in: its socket, its tables, and where its program is attached."""

    def __init__(self, sock: socket.socket, way: links.Way, settings: Settings) -> None:
        self.sock = sock
        self._way = way
        self._settings = settings
        self._tables: Tables | None = None
        self._programs: dict[bool, int] = {}
        """Whether packets have an Ethernet header -> the descriptor of the program for those."""
        self._attached: dict[int, links.Attached | None] = {}
        """Index of an interface -> what is removed there at the end. None: the client has it, or it was refused."""
        self._why: Off | None = None

    def _begin(self) -> None:
        """Make tables, and see whether the kernel takes the program."""
        self._tables = make_tables(self._settings.capacity)
        self._program(has_mac=True)

    def _give(self) -> None:
        """Give the tables to the client."""
        assert self._tables is not None
        wire.send(self.sock, Kind.TABLES, int(self._way.has_lease), self._tables)
        self._why = None

    def bring(self, present: Mapping[int, Interface], problem: Callable[[Interface, OSError], None]) -> None:
        """Attach the program to these interfaces and to no other one. `problem` is told where that is refused. Raises
        OSError when the kernel refuses the program, and EOFError when the client is gone."""
        if is_new := self._tables is None:
            self._begin()
        if is_new and not self._way.has_lease:
            self._give()
        for index in self._attached.keys() - present.keys():
            self._detach(index)
            wire.send(self.sock, Kind.GONE, index)
        ours: list[int] = []
        for index in present.keys() - self._attached.keys():
            if len(self._attached) >= MOST_LINKS:
                problem(present[index], OSError(errno.ENOSPC, f"{MOST_LINKS} interfaces have the program already"))
                break
            if self._attach(present[index], problem):
                ours.append(index)
        # An interface sends nothing for a moment while a place for filters is made there. So tables come after that:
        # whoever waits for them begins on lines that work.
        if is_new and self._way.has_lease:
            self._give()
        for index in ours:
            wire.send(self.sock, Kind.LINK, index)

    def _attach(self, interface: Interface, problem: Callable[[Interface, OSError], None]) -> bool:
        """Attach the program there. If the client is to have the link, it is told at once. Returns whether it is still
        to be told."""
        self._attached[interface.index] = None
        try:
            attached = self._way.attach(self._program(interface.has_mac), interface.index)
        except OSError as error:
            problem(interface, error)
            return False
        if attached.descriptor is None:
            self._attached[interface.index] = attached
            return True
        try:
            wire.send(self.sock, Kind.LINK, interface.index, (attached.descriptor,))
        finally:
            attached.remove()
        return False

    def _program(self, has_mac: bool) -> int:
        """The program for interfaces of this kind. Raises OSError."""
        assert self._tables is not None
        if has_mac not in self._programs:
            self._programs[has_mac] = program.load(self._tables, has_mac, self._way.has_lease)
        return self._programs[has_mac]

    def _detach(self, index: int) -> None:
        if (attached := self._attached.pop(index)) is not None:
            attached.remove()

    def end(self, why: Off) -> None:
        """Take everything back, and say why. Raises EOFError when the client is gone."""
        if self._why is not why:
            self._release()
            self._why = why
            wire.send(self.sock, Kind.OFF, why)

    def close(self) -> None:
        """The client is gone, or is to go."""
        self._release()
        self.sock.close()

    def _release(self) -> None:
        """Detach what would stay, and let go of tables and programs."""
        for index in tuple(self._attached):
            self._detach(index)
        for descriptor in (*self._programs.values(), *(self._tables or ())):
            os.close(descriptor)
        self._programs.clear()
        self._tables = None


class Holder:
    """Serves its clients and hears the kernel's news in turn."""

    def __init__(self, settings: Settings, way: links.Way, entrance: socket.socket, tell: Say) -> None:
        """Raises OSError when the kernel tells no news."""
        self._settings = settings
        self._way = way
        self._tell = tell
        self._entrance = entrance
        self._watch = watching.Watch()
        self._clients: dict[int, Client] = {}
        """By the descriptors of their sockets."""
        self._look_at: float | None = None
        self._open_at: float | None = None
        self._is_over = False
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        for descriptor in self._watch:
            self._await(descriptor, self._heard)
        self._await(entrance.fileno(), self._come_in)

    def end_with(self, descriptor: int) -> None:
        """End when there is something to be read here, or when its other end is closed."""
        self._await(descriptor, self._end)

    def serve(self) -> None:
        """Do all of this until the end."""
        while not self._is_over:
            for descriptor, _ in self._poll.poll(self._until_next()):
                if descriptor in self._ready:  # it may have gone with the one before it
                    self._ready[descriptor]()
            now = time.monotonic()
            if self._open_at is not None and now >= self._open_at:
                self._open_at = None
                self._await(self._entrance.fileno(), self._come_in)
            if self._look_at is not None and now >= self._look_at:
                self._look_at = None
                self._bring(tuple(self._clients.values()))

    def close(self) -> None:
        """Take everything back."""
        for client in self._clients.values():
            client.close()
        self._watch.close()
        self._entrance.close()

    def _await(self, descriptor: int, ready: Callable[[], None], events: int = select.POLLIN) -> None:
        self._ready[descriptor] = ready
        self._poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        del self._ready[descriptor]
        self._poll.unregister(descriptor)

    def _until_next(self) -> float | None:
        """How many milliseconds may pass before something is to be done without news."""
        times = [at for at in (self._look_at, self._open_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) * 1000 if times else None

    def _end(self) -> None:
        self._is_over = True

    def _heard(self) -> None:
        """News have come. They are looked into when the rest of the same change has come."""
        self._watch.drain()
        self._look_within(SETTLE_SECONDS)

    def _look_within(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        self._look_at = at if self._look_at is None else min(at, self._look_at)

    # -- clients -------------------------------------------------------------------------------------------------------

    def _come_in(self) -> None:
        try:
            sock, _ = self._entrance.accept()
        except OSError:  # it has gone meanwhile, or there is no descriptor left
            self._rest()
            return
        if (who := entrances.user_at(sock)) != self._settings.user or len(self._clients) >= MOST_CLIENTS:
            sock.close()
            if who not in (0, self._settings.user):
                self._tell(f"user {who} has asked for the kernel path, which is user {self._settings.user}'s alone")
            return
        self._rest()
        sock.shutdown(socket.SHUT_RD)  # nothing that it says is read, so it cannot say anything
        client = self._clients[sock.fileno()] = Client(sock, self._way, self._settings)
        # Without an event the end of the other side is told, and that alone.
        self._await(sock.fileno(), lambda: self._lose(client), events=0)
        self._bring((client,))

    def _rest(self) -> None:
        """Let nobody in for a moment."""
        self._forget(self._entrance.fileno())
        self._open_at = time.monotonic() + PAUSE_SECONDS

    def _bring(self, clients: tuple[Client, ...]) -> None:
        """Have these clients' programs where they may be now."""
        why, present = self._looked()
        for client in clients:
            try:
                if why is not None:
                    client.end(why)
                    continue
                try:
                    client.bring(present, self._refused_at)
                except OSError as error:
                    self._tell(refused(error))
                    self._look_within(RETRY_SECONDS)
                    client.end(Off.REFUSED)
            except EOFError:
                self._lose(client)

    def _looked(self) -> tuple[Off | None, Mapping[int, Interface]]:
        """Why the program must be nowhere now, or the interfaces where it may be."""
        try:
            if watching.has_policies():
                return Off.IPSEC, {}
            if self._settings.heeds_marks and watching.has_rules_by_mark():
                return Off.MARKS, {}
            named = self._settings.interfaces
            return None, {
                index: interface
                for index, interface in watching.interfaces().items()
                if named is None or interface.name in named
            }
        except OSError as error:
            self._tell(f"no media passes in the kernel: what it says of interfaces and policies: {error.strerror}")
            return Off.REFUSED, {}

    def _refused_at(self, interface: Interface, error: OSError) -> None:
        if error.errno != errno.ENODEV:  # it has gone meanwhile
            self._tell(f"media that comes by {interface.name} does not pass in the kernel: {error.strerror}")

    def _lose(self, client: Client) -> None:
        self._forget(client.sock.fileno())
        del self._clients[client.sock.fileno()]
        client.close()
