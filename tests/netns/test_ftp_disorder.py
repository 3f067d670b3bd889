"""Clients and servers that do as they please, for some seconds: whatever they do, nothing is left when they are gone.

Both break off at any point, by a reset or an orderly end, with bytes on the way; they send garbage, half replies, and
many commands at once. What each of them does is drawn from a seed, which a failure names.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

CLIENTS = 10
SECONDS = 8.0
LEAST_SESSIONS, LONGEST_SECONDS = 50, 60.0
"""How many sessions there must be. A machine that has much else to do has longer for them."""
PEER_SECONDS = 3.0
SIZES = (0, 1, 1000, 100_000, 3_000_000)


def reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Peer:
    """One side of a control connection, with a mind of its own."""

    def __init__(self, sock: socket.socket, mind: random.Random) -> None:
        self.sock = sock
        self.mind = mind
        self._read = b""
        sock.settimeout(PEER_SECONDS)

    def line(self) -> bytes:
        """Raises EOFError at the end of the stream."""
        while b"\n" not in self._read:
            data = self.sock.recv(4096)
            if not data:
                raise EOFError
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line

    def say(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            step = self.mind.randrange(1, 60)
            self.sock.sendall(data[at : at + step])
            at += step

    def go(self) -> None:
        (reset if self.mind.random() < 0.3 else socket.socket.close)(self.sock)

    def move(self, data: socket.socket, sends: bool) -> None:
        """Send or fetch as much as one likes, and leave as one likes."""
        data.settimeout(PEER_SECONDS)
        wanted = self.mind.choice(SIZES)
        with contextlib.suppress(OSError):
            if sends:
                data.sendall(os.urandom(1000) * (wanted // 1000))
            while not sends and wanted > 0 and (got := data.recv(65536)):
                wanted -= len(got)
        (reset if self.mind.random() < 0.3 else socket.socket.close)(data)


def serve(peer: Peer, host: str) -> None:
    """One session of the server."""
    listener: socket.socket | None = None
    try:
        peer.say(b"220 hello\r\n")
        while peer.mind.random() > 0.01:
            verb = peer.line()[:4].strip().upper()
            if verb in (b"PASV", b"EPSV"):
                if listener is not None:
                    listener.close()
                listener = socket.create_server((host, 0))
                listener.settimeout(PEER_SECONDS)
                peer.say(passive_reply(verb, host, listener.getsockname()[1], peer.mind))
            elif verb in (b"RETR", b"STOR") and listener is not None:
                peer.say(b"150 here it comes\r\n")
                peer.move(listener.accept()[0], sends=verb == b"RETR")
                peer.say(peer.mind.choice([b"226 done\r\n", b"426 broken off\r\n"]))
                listener.close()
            else:
                peer.say(peer.mind.choice([b"200 fine\r\n", b"500 what?\r\n", b"211-one\r\n two\r\n211 three\r\n"]))
    except (OSError, EOFError):
        pass
    finally:
        if listener is not None:
            listener.close()
        peer.go()


def passive_reply(verb: bytes, host: str, port: int, mind: random.Random) -> bytes:
    six = f"{host.replace('.', ',')},{port >> 8},{port & 255}".encode()
    whole = b"227 here (%s)\r\n" % six if verb == b"PASV" else b"229 here (|||%d|)\r\n" % port
    match mind.randrange(20):
        case 0:
            return whole[: mind.randrange(len(whole))]
        case 1:
            return b"227-no\r\n227 1,2,3\r\n" + whole
        case _:
            return whole


def use(peer: Peer, dial: Callable[[int], socket.socket]) -> None:
    """One session of a client."""
    try:
        peer.line()
        peer.say(b"USER me\r\n")
        for _ in range(peer.mind.randrange(1, 6)):
            match peer.mind.randrange(10):
                case 0:
                    peer.say(bytes(peer.mind.choices(range(256), k=peer.mind.randrange(1, 200))) + b"\r\n")
                case 1:
                    peer.say(b"NOOP\r\n" * peer.mind.randrange(1, 80))
            verb = peer.mind.choice([b"PASV", b"EPSV"])
            peer.say(verb + b"\r\n")
            while not (line := peer.line()).startswith((b"227 here", b"229 here")):
                if line.startswith(b"4"):
                    raise EOFError
            numbers = [int(text) for text in line.partition(b"(")[2].strip(b"|).\r").split(b",")]
            command = peer.mind.choice([b"RETR", b"STOR"])
            with dial(numbers[-2] << 8 | numbers[-1] if len(numbers) > 1 else numbers[0]) as data:
                peer.say(command + b" file\r\n")
                peer.move(data, sends=command == b"STOR")
    except (OSError, EOFError, ValueError, OverflowError):  # half a reply and the next one may name no port
        pass
    finally:
        peer.go()


@pytest.fixture(params=["none", "interface"])
def gateway(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Daemon]]:
    policy = f"policies: [{{name: lan-out, from: [lan0], action: accept, snat: {request.param}}}]\n"
    with (
        Lab("routed" if request.param == "none" else "nat") as lab,
        pinhole(lab, policy + "limits: {sessions_per_client: 5000}", unprivileged=True) as daemon,
    ):
        yield lab, daemon


def test_peers_that_do_as_they_please_leave_nothing_behind(gateway: tuple[Lab, Daemon]) -> None:
    lab, daemon = gateway
    seed = random.randrange(1 << 32)
    seeds = random.Random(seed)
    host, until = str(lab.server.v4), time.monotonic() + SECONDS
    before = daemon.until(sessions=0)
    with lab.server.inside():
        listener = socket.create_server((host, 21), backlog=256)
    listener.settimeout(0.2)
    served = 0

    def serve_one(sock: socket.socket, mind: random.Random) -> None:
        with lab.server.inside():
            serve(Peer(sock, mind), host)

    def be_client(mind: random.Random) -> None:
        def dial(port: int) -> socket.socket:
            with lab.client.inside():
                return socket.create_connection((host, port), PEER_SECONDS)

        while time.monotonic() < until + (0 if served > LEAST_SESSIONS else LONGEST_SECONDS):
            with contextlib.suppress(OSError):
                use(Peer(dial(21), mind), dial)

    with listener, ThreadPoolExecutor(200) as threads:
        clients = [threads.submit(be_client, random.Random(seeds.random())) for _ in range(CLIENTS)]
        while not all(client.done() for client in clients):
            with contextlib.suppress(TimeoutError):
                threads.submit(serve_one, listener.accept()[0], random.Random(seeds.random()))
                served += 1
        for client in clients:
            client.result()

    after = daemon.until(sessions=0, pinholes=0, transfers=0, ports_leased=0)
    said = f"seed {seed}: {after}"
    assert after["sessions_opened"] > LEAST_SESSIONS, said
    # Pipes are kept for the next relays, at most those of one relay for each client: two pipes, of two ends each.
    assert after["descriptors"] <= before["descriptors"] + 4 * CLIENTS, said
    daemon.wait_for("session.closed", count=after["sessions_opened"])
    assert len(daemon.audit("pinhole.opened")) == len(daemon.audit("pinhole.closed")), said
    assert not daemon.audit("engine.failed") + daemon.audit("daemon.failed"), said
    assert daemon.is_running()
