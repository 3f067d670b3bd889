"""A host with a holder, and clients of it that can be killed: processes of their own, as daemons are."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

from proxy.ebpf import syscall
from proxy.holder import process, wire
from proxy.holder.holding import Settings
from proxy.holder.links import Order
from proxy.holder.process import Child
from proxy.holder.wire import Kind
from tests.netns.namespaces import Namespace, run

NOBODY = 65534
ROWS = 64
SECONDS = 20.0


class Place:
    """A network namespace, the holders in it and their clients."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        self._holders: list[Child] = []
        self._clients: list[ClientProcess] = []

    def clean(self) -> None:
        """End what a test has left."""
        for client in self._clients:
            client.kill()
        for holder in tuple(self._holders):
            self.end(holder)
        self._clients.clear()

    def end(self, holder: Child) -> None:
        """In order, unless it was killed."""
        self._holders.remove(holder)
        holder.end()

    def add(self, name: str, *words: str) -> int:
        """Make an interface. Returns its index."""
        run("ip", "-n", self.host.name, "link", "add", name, *words)
        return self.index(name)

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.host.name, *words)

    def index(self, name: str) -> int:
        return int(self.ip("-o", "link", "show", name).split(":")[0])

    def holder(self, settings: Settings | None = None, order: Order = Order.LAST) -> Child:
        with self.host.inside():
            child = process.fork(settings or Settings(NOBODY, ROWS), order)
        assert child is not None
        self._holders.append(child)
        return child

    def client(self, act: Callable[[ClientProcess], None] = lambda client: None, user: int = NOBODY) -> ClientProcess:
        with self.host.inside():
            client = ClientProcess(act, user)
        self._clients.append(client)
        return client

    def programs(self, name: str) -> list[int]:
        """The programs at the interface, in order, by tcx."""
        with self.host.inside():
            try:
                return syscall.programs(self.index(name))
            except OSError as error:
                if error.errno != errno.EINVAL:  # Linux before 6.6 has no tcx
                    raise
                return []

    def filters(self, name: str) -> str:
        """What hangs there by traffic control."""
        with self.host.inside():
            ours = run("tc", "filter", "show", "dev", name, "ingress")
            return ours + run("tc", "qdisc", "show", "dev", name, "clsact")

    def attached(self, name: str) -> int:
        return len(self.programs(name)) + self.filters(name).count("direct-action")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    name = f"pinhole-{secrets.token_hex(3)}-holder"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield Place(Namespace(name))
    finally:
        subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


class ClientProcess:
    """A client of the holder in this namespace. It takes what it is told and tells it on; it acts once it is let in."""

    def __init__(self, act: Callable[[ClientProcess], None], user: int) -> None:
        told, tell = os.pipe()
        self.sock: socket.socket
        self._tell = -1
        self.descriptors: dict[str, tuple[int, ...]] = {}
        """Of the client itself: what it was told -> the descriptors that came with it."""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(told)
                self._serve(tell, act, user)
            except BaseException as error:
                os.write(tell, f"{error!r}\n".encode())
            finally:
                os._exit(1)
        os.close(tell)
        self._told = told
        self._unread = ""

    def _serve(self, tell: int, act: Callable[[ClientProcess], None], user: int) -> None:
        self._tell = tell
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        found = process.find()
        assert found is not None
        self.sock = found
        while True:
            select.select([self.sock], [], [])
            try:
                message = wire.receive(self.sock)
            except EOFError:
                self.tell("lost")
                signal.pause()
            if message is None:
                continue
            word = f"{message.kind.name} {message.number}"
            self.descriptors[word] = message.descriptors
            if message.kind is Kind.OFF:
                for descriptor in sum(self.descriptors.values(), ()):
                    os.close(descriptor)
                self.descriptors.clear()
            elif message.kind is Kind.GONE:
                for descriptor in self.descriptors.pop(f"LINK {message.number}", ()):
                    os.close(descriptor)
            self.tell(word)
            if message.kind is Kind.LINK:
                act(self)

    def tell(self, word: str) -> None:
        """In its process: tell the test."""
        os.write(self._tell, f"{word}\n".encode())

    def hears(self, *words: str) -> None:
        """Wait until it has told all of these, in any order, and nothing else."""
        left = set(words)
        while left:
            word = self.next()
            assert word in left, f"{word}, not {left}"
            left.remove(word)

    def next(self) -> str:
        while "\n" not in self._unread:
            assert select.select([self._told], [], [], SECONDS)[0], "it is told nothing"
            data = os.read(self._told, 4096)
            assert data, "it has ended"
            self._unread += data.decode()
        word, _, self._unread = self._unread.partition("\n")
        return word

    def is_silent(self, seconds: float) -> bool:
        return not self._unread and not select.select([self._told], [], [], seconds)[0]

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._told)
        self.pid = 0


def kill(holder: Child) -> None:
    """It is gone then, with the socket where clients find it. Whoever ends it later still learns how it ended."""
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
