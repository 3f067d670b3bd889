"""TCP urgent data after ACCEPT (X26, T27): carried as such, in its place; or not offered to either side, so that the
client interrupts by marker packets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.harness.waiting import until
from tests.netns.connections import read_all
from tests.netns.ftp_talk import SECONDS
from tests.netns.namespaces import needs_root
from tests.netns.tns_site import Site, site
from tests.netns.tns_talk import Listener, calling, listening, read_packet, redirected, to
from tools.peers import oracle
from tools.peers.tns_packets import accept, connect

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SIOCATMARK = 0x8905
ATTENTION = 0x0600
BULK = os.urandom(4_000_000)
LEAST_ON_THE_WAY, MOST_ON_THE_WAY = 1_000_000, 128 << 20
"""Bytes that the buffers between two sides hold while one of them reads nothing: a kernel may give a socket 32 MB."""


@pytest.fixture(scope="module")
def carrying() -> Iterator[Site]:
    with site(options="oob: carry") as carrying:
        yield carrying


@pytest.fixture
def gate(carrying: Site) -> Iterator[Site]:
    with carrying.one_test() as gate:
        yield gate


@pytest.fixture(scope="module")
def disabling() -> Iterator[Site]:
    with site() as disabling:
        yield disabling


@contextlib.contextmanager
def established(gate: Site, version: int = 4) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and its server, both past ACCEPT."""
    at = (str(gate.server.address(version)), 1521)
    with listening(gate.server, accept(), version=version) as listener, calling(gate.client, at) as client:
        read_all(client, len(accept()))
        yield client, listener.take()


def is_at_mark(sock: socket.socket) -> bool:
    return fcntl.ioctl(sock, SIOCATMARK, bytes(4)) != bytes(4)


def read_up_to_mark(sock: socket.socket) -> bytes:
    """The stream up to where urgent data stands. Linux ends a read there; one that begins there passes it by."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLPRI)
    data = b""
    while not is_at_mark(sock):
        events = poll.poll(SECONDS * 1000)
        assert events, f"no urgent data behind {data[-20:]!r}"
        if events[0][1] & select.POLLIN and not is_at_mark(sock):
            more = sock.recv(1 << 16)
            assert more, f"the end behind {data[-20:]!r}"
            data += more
    return data


def take_urgent(sock: socket.socket) -> bytes:
    """The byte at the mark; it may come later than the announcement of it."""
    poll = select.poll()
    poll.register(sock, select.POLLPRI)
    assert poll.poll(SECONDS * 1000)
    sock.setblocking(False)  # with a timeout Python would wait for ordinary data
    try:
        return sock.recv(1, socket.MSG_OOB)
    finally:
        sock.settimeout(SECONDS)


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("by", ["client", "server"])
def test_an_urgent_byte_arrives_as_such_between_the_same_bytes(gate: Site, version: int, by: str) -> None:
    with established(gate, version) as (client, server):
        one, other = (client, server) if by == "client" else (server, client)
        one.sendall(b"before")
        one.send(b"!", socket.MSG_OOB)
        one.sendall(b"behind")
        assert read_up_to_mark(other) == b"before"
        assert take_urgent(other) == b"!"
        assert read_all(other, 6) == b"behind"


def test_an_urgent_byte_with_nothing_around_it_arrives(gate: Site) -> None:
    """As a client sends it that interrupts a call: it waits for the answer."""
    with established(gate) as (client, server):
        client.send(b"!", socket.MSG_OOB)
        assert read_up_to_mark(server) == b""
        assert take_urgent(server) == b"!"
        server.sendall(b"interrupted")
        assert read_all(client, 11) == b"interrupted"


def test_many_in_one_session_and_from_both_sides(gate: Site) -> None:
    with established(gate) as (client, server):
        for number in range(20):
            one, other = (client, server) if number % 2 else (server, client)
            one.sendall(b"%06d" % number)
            one.send(bytes((number,)), socket.MSG_OOB)
            one.sendall(b"...")
            assert read_up_to_mark(other) == b"%06d" % number
            assert take_urgent(other) == bytes((number,))
            assert read_all(other, 3) == b"..."


@pytest.mark.parametrize("by", ["client", "server"])
def test_it_keeps_its_place_within_a_bulk_transfer(gate: Site, by: str) -> None:
    """A client interrupts while it sends, or while a result of megabytes comes; the reader is slower than the writer,
    so that every buffer on the way is full."""
    with established(gate) as (client, server):
        one, other = (client, server) if by == "client" else (server, client)

        def say() -> None:
            one.sendall(BULK)
            one.send(b"!", socket.MSG_OOB)
            one.sendall(BULK[::-1])

        speaker = threading.Thread(target=say, daemon=True)
        speaker.start()
        assert read_up_to_mark(other) == BULK
        assert take_urgent(other) == b"!"
        assert read_all(other, len(BULK)) == BULK[::-1]
        speaker.join(SECONDS)
        assert not speaker.is_alive()


def test_it_overtakes_nothing_of_a_transfer_the_other_way(gate: Site) -> None:
    """The usual interruption: the server sends and sends, and the client, which reads nothing yet, says stop."""
    with established(gate) as (client, server):
        server.setblocking(False)
        sent = 0
        # Every buffer on the way is full, which the gateway may be late to see to.
        while select.select([], [server], [], 0.2 if sent > LEAST_ON_THE_WAY else SECONDS)[1]:
            sent += server.send(BULK[:65536])
            assert sent < MOST_ON_THE_WAY, "nothing pushes back"
        client.send(b"!", socket.MSG_OOB)
        assert read_up_to_mark(server) == b""
        assert take_urgent(server) == b"!"
        server.shutdown(socket.SHUT_WR)
        received = 0
        while data := client.recv(1 << 16):
            received += len(data)
        assert received == sent > LEAST_ON_THE_WAY


def test_the_reset_marker_right_behind_it_stays_a_packet(gate: Site) -> None:
    """As clients of version 318 and later try it out at login: the byte and a marker, in one go."""
    marker = bytes.fromhex("0000000b0c000000010002")
    with established(gate) as (client, server):
        client.send(b"!", socket.MSG_OOB)
        client.sendall(marker)
        assert read_up_to_mark(server) == b""
        assert take_urgent(server) == b"!"
        assert read_all(server, len(marker)) == marker


def test_it_is_carried_on_a_redirected_session_too(gate: Site) -> None:
    with (
        listening(gate.server, to(gate.server.v4, 21522)),
        listening(gate.server, accept(), 21522) as second,
        gate.calling() as first,
        calling(gate.client, redirected(first)) as client,
    ):
        read_all(client, len(accept()))
        server = second.take()
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        assert read_up_to_mark(server) == b"before"
        assert take_urgent(server) == b"!"


def test_the_end_behind_an_urgent_byte_is_passed_on(gate: Site) -> None:
    with established(gate) as (client, server):
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.shutdown(socket.SHUT_WR)
        assert read_up_to_mark(server) == b"before"
        assert take_urgent(server) == b"!"
        assert server.recv(100) == b""
        server.sendall(b"still here")
        assert read_all(client, 10) == b"still here"


# -- what either side is told of it ------------------------------------------------------------------------------------


def told(gate: Site) -> tuple[int, int, int, int]:
    """Of the bits for urgent data in CONNECT and ACCEPT, those that arrive: two options, two checks."""
    with listening(gate.server, accept(options=0x0E01)) as listener, gate.calling(connect(options=0x0E41)) as client:
        accepted = read_packet(client)
        listener.take()
        (asked,) = listener.connects
    assert len(accepted) == len(accept())
    return (
        struct.unpack_from(">H", asked, 12)[0] & ATTENTION,
        struct.unpack_from(">H", accepted, 10)[0] & ATTENTION,
        asked[73] & 1,
        accepted[44] & 1,
    )


def test_carried_it_is_offered_and_accepted_as_ever(gate: Site) -> None:
    assert told(gate) == (ATTENTION, ATTENTION, 1, 1)


def test_disabled_it_is_offered_to_neither_side(disabling: Site) -> None:
    with disabling.one_test() as gate:
        assert told(gate) == (0, 0, 0, 0)


def test_disabled_a_byte_that_comes_all_the_same_hides_nothing_behind_it(disabling: Site) -> None:
    with disabling.one_test() as gate, established(gate) as (client, server):
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"behind")
        assert read_all(server, 13) == b"before!behind"


# -- the driver --------------------------------------------------------------------------------------------------------

MARKER = 12


def login(gate: Site, driver: str) -> tuple[bytes, int]:
    """What python-oracledb sends after an ACCEPT that agrees to urgent data and to trying it out: as urgent data (b""
    if nothing), and the type of its first packet."""
    heard = threading.Event()
    found: list[tuple[bytes, int]] = []

    def serve(listener: Listener) -> None:
        until(lambda: listener.was_reached, "the driver has not come")  # it takes a while to begin
        server = listener.take()
        poll = select.poll()
        poll.register(server, select.POLLIN | select.POLLPRI)
        assert poll.poll(SECONDS * 1000)
        urgent = take_urgent(server) if is_at_mark(server) else b""
        head = read_all(server, 8)
        read_all(server, int.from_bytes(head[:4], "big") - 8)
        found.append((urgent, head[4]))
        heard.set()

    with listening(gate.server, oracle.accept(options=0x0C01, flags2=1)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        said = oracle.connect(gate.client, gate.server.v4, 1521, "synchronous", driver, heard)
        thread.join(SECONDS)
    assert found, said
    return found[0]


@pytest.mark.interop
@pytest.mark.parametrize("driver", oracle.drivers(), ids=lambda driver: driver or "newest")
def test_the_driver_tries_it_out_and_it_arrives_when_carried(gate: Site, driver: str) -> None:
    assert login(gate, driver) == (b"!", MARKER)


@pytest.mark.interop
@pytest.mark.parametrize("driver", oracle.drivers(), ids=lambda driver: driver or "newest")
def test_the_driver_does_not_try_it_when_disabled(disabling: Site, driver: str) -> None:
    """Its first packet is the login itself."""
    with disabling.one_test() as gate:
        assert login(gate, driver) == (b"", 6)
