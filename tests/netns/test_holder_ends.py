"""A stream that passes in the kernel, while holder and daemon are killed: in whichever order, soon nothing passes any
more, and nothing is lost before."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxy.ebpf.tables import Rows, Tables
from proxy.holder import process
from proxy.host.passed import SO_RCVBUFFORCE
from tests.harness.waiting import attempts, until
from tests.netns.holder_site import ClientProcess, Place, kill
from tests.netns.namespaces import Hosts, needs_root, three_hosts

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

AT_ONCE_SECONDS = 1.0
"""A process that is killed takes a while to be gone on a machine where others run. A lease stands for longer."""
LEASE_SECONDS = 2.0
KEEP_SECONDS = 0.1
"""The daemon's keeping may wait for its turn almost as long as the lease."""
SO_TIMESTAMPNS = 35
WAITING_BYTES = 4 << 20
"""Of a receiver that has to wait for its turn, while the sender does not."""
APART_SECONDS = 0.002
SILENCES, UNHEARD = 10, 250
"""Half a second each: nothing is left to be read, though packets were sent."""
SOURCE, AT, OUT, TO = ("10.1.0.2", 5000), ("10.1.0.1", 6000), ("192.0.2.1", 7000), ("192.0.2.2", 8000)


@dataclass(frozen=True, slots=True)
class Ending:
    after_seconds: float
    lost: int
    """Packets that did not come, of those between the first and the last that came."""


class Stream:
    """Numbered packets from the client to the gateway, and which of them the server hears, and when."""

    def __init__(self, hosts: Hosts) -> None:
        with hosts.client.inside():
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with hosts.server.inside():
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.bind(SOURCE)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, WAITING_BYTES)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._receiver.bind(TO)
        self._receiver.settimeout(0.05)
        self._is_over = False
        self._sent = 0
        self._silences = 0
        """How often in a row nothing came within the receiver's time."""
        self.heard: list[tuple[int, float]] = []
        """Number of a packet, and when it came, by the kernel's word (`time.time`): it may be read later."""
        self._threads = [threading.Thread(target=work) for work in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._is_over:
            self._sender.sendto(self._sent.to_bytes(4, "big"), AT)
            self._sent += 1
            time.sleep(APART_SECONDS)

    def _hear(self) -> None:
        while not self._is_over:
            try:
                data, ((_, _, stamp),), _, source = self._receiver.recvmsg(100, 100)
            except TimeoutError:
                self._silences += 1
                continue
            assert source == OUT
            seconds, nanoseconds = struct.unpack("@qq", stamp)
            self.heard.append((int.from_bytes(data, "big"), seconds + nanoseconds / 1e9))
            self._silences = 0

    def passes(self) -> None:
        """Wait until a packet comes that was sent from now on."""
        count = len(self.heard)
        until(lambda: len(self.heard) > count + 1)

    def begin_anew(self) -> None:
        """What came before is forgotten."""
        self.heard.clear()

    def ending(self, since: float) -> Ending:
        """Wait until no more packets come, and say how long after `since` (`time.time`) the last one came."""
        until(lambda: self._silences > SILENCES and self._sent - self.heard[-1][0] > UNHEARD)
        numbers = [number for number, _ in self.heard]
        return Ending(self.heard[-1][1] - since, numbers[-1] - numbers[0] + 1 - len(numbers))

    def close(self) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with three_hosts() as made:
        yield made


@pytest.fixture
def gateway(hosts: Hosts) -> Iterator[Place]:
    place = Place(hosts.gateway)
    yield place
    place.clean()


@pytest.fixture
def stream(hosts: Hosts) -> Iterator[Stream]:
    made = Stream(hosts)
    yield made
    made.close()


@pytest.fixture(params=["tcx", "clsact"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "clsact":
        monkeypatch.setenv(process.WAY, "clsact")
    return str(request.param)


def carry(client: ClientProcess) -> None:
    """In the client's process, as a daemon does: put the stream's row in, and keep it."""
    if sum(word.startswith("LINK") for word in client.descriptors) < 2:
        return
    (tables,) = (found for word, found in client.descriptors.items() if word.startswith("TABLES"))
    rows = Rows(Tables(*tables))
    rows.keep()
    row = rows.put(SOURCE, AT, OUT, TO, 0)
    client.tell(f"carries {row is not None}")

    def keep() -> None:
        while True:
            time.sleep(KEEP_SECONDS)
            rows.keep()

    threading.Thread(target=keep, daemon=True).start()


def carried(gateway: Place, way: str) -> ClientProcess:
    client = gateway.client(carry)
    links = [f"LINK {gateway.index(name)}" for name in ("lan0", "wan0")]
    client.hears(f"TABLES {int(way == 'clsact')}", *links, "carries True")
    return client


def is_bare(gateway: Place) -> bool:
    return all(gateway.attached(name) == 0 for name in ("lan0", "wan0"))


def in_time(seconds: float) -> Iterator[list[Ending]]:
    """Attempts, each with a list for its ending. One of them must be in time, and nothing lost before: whoever acts at
    once, or keeps a lease, may now and then have to wait for its turn for as long."""
    endings: list[Ending] = []
    for _ in attempts(3, lambda: f"not within {seconds} seconds: {endings}"):
        yield endings
        if endings[-1].after_seconds < seconds and endings[-1].lost == 0:
            break


def in_time_without_holder(way: str) -> Iterator[list[Ending]]:
    """By clsact nobody removes the program, and the lease runs out."""
    return in_time(AT_ONCE_SECONDS + (LEASE_SECONDS if way == "clsact" else 0))


def test_the_daemon_is_killed_before_the_holder(gateway: Place, stream: Stream, way: str) -> None:
    holder = gateway.holder()
    for endings in in_time(AT_ONCE_SECONDS):  # a lease never ends so early
        client = carried(gateway, way)
        stream.begin_anew()
        stream.passes()
        client.kill()
        endings.append(stream.ending(time.time()))
        until(lambda: is_bare(gateway))
    kill(holder)


def test_the_holder_is_killed_before_the_daemon(gateway: Place, stream: Stream, way: str) -> None:
    holder = gateway.holder()
    for endings in in_time_without_holder(way):
        client = carried(gateway, way)
        stream.begin_anew()
        stream.passes()
        kill(holder)
        client.hears("lost")
        time.sleep(1.2 * LEASE_SECONDS if way == "clsact" else 0.1)
        stream.passes()
        client.kill()
        endings.append(stream.ending(time.time()))
        holder = gateway.holder()
        until(lambda: is_bare(gateway))


def test_both_are_killed_at_once(gateway: Place, stream: Stream, way: str) -> None:
    holder = gateway.holder()
    for endings in in_time_without_holder(way):
        client = carried(gateway, way)
        stream.begin_anew()
        stream.passes()
        os.kill(holder.pid, signal.SIGSTOP)
        client.kill()
        kill(holder)
        endings.append(stream.ending(time.time()))
        holder = gateway.holder()
        until(lambda: is_bare(gateway))


def test_a_daemon_that_hangs_loses_its_rows_where_nobody_else_would_remove_them(
    gateway: Place, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(process.WAY, "clsact")
    gateway.holder()
    client = carried(gateway, "clsact")
    for endings in in_time_without_holder("clsact"):
        stream.begin_anew()
        stream.passes()
        os.kill(client.pid, signal.SIGSTOP)
        endings.append(stream.ending(time.time()))
        os.kill(client.pid, signal.SIGCONT)
        stream.passes()
