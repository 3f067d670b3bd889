"""Attacks on TFTP, each really tried through a gateway that drops whatever pinhole does not carry: one that routes, and
one that hides its clients."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 10.0
SILENCE_SECONDS = 0.15
HASTY = "10.1.0.77"
"""An address of the client whose requests are soon too old for an answer. Those of all others may wait for theirs as
long as a busy machine takes to send it."""
OPEN_SECONDS = 1
UNANSWERED, SESSIONS = 3, 60
BLOCK = bytes(512)
OPTIONS = f'unanswered_per_minute: {UNANSWERED}, write: deny, max_bytes: 2000, deny_names: ["secret/*"]'


def data(number: int, content: bytes = b"end") -> bytes:
    return b"\0\3" + number.to_bytes(2) + content


def ack(number: int) -> bytes:
    return b"\0\4" + number.to_bytes(2)


def rrq(name: str) -> bytes:
    return b"\0\1" + name.encode("latin-1") + b"\0octet\0"


class End:
    """A socket on a host of the lab."""

    def __init__(self, site: Site, host: Host, port: int = 0, address: str = "") -> None:
        """address: which of the host's it has, if not its first one."""
        with host.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.bind((address or str(host.v4), port))
        site.ends.append(self)

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def send(self, packet: bytes, to: tuple[str, int]) -> None:
        self.sock.sendto(packet, to)

    def hear(self) -> tuple[bytes, tuple[str, int]]:
        """The next packet, and whom it is from. Raises TimeoutError."""
        self.sock.settimeout(SECONDS)
        packet, at = self.sock.recvfrom(65535)
        return packet, at

    def hears_nothing(self) -> bool:
        self.sock.settimeout(SILENCE_SECONDS)
        try:
            self.sock.recvfrom(65535)
        except TimeoutError:
            return True
        return False


@dataclass(slots=True)
class Site:
    lab: Lab
    daemon: Daemon
    at: tuple[str, int]
    """Port 69 of the server."""
    ends: list[End] = field(default_factory=list)
    listening: End = field(init=False)
    """The server's socket on port 69."""

    def client(self) -> End:
        return End(self, self.lab.client)

    def hasty(self) -> End:
        """A client whose requests are soon too old."""
        return End(self, self.lab.client, address=HASTY)

    def asked(self, client: End, name: str) -> tuple[str, int]:
        """A file is asked for. Returns where the server sees the client."""
        client.send(rrq(name), self.at)
        return self.heard_from(name)

    def heard_from(self, name: str) -> tuple[str, int]:
        """Where the server sees who asks for this file."""
        while True:
            packet, seen = self.listening.hear()
            if packet == rrq(name):  # of a flood there may be more on its way
                return seen

    def answering(self) -> End:
        """Another port of the server."""
        return End(self, self.lab.server)

    def violation(self, rule: str) -> dict[str, Any]:
        return self.daemon.wait_for("violation", rule=rule)

    def transfer(self, name: str) -> dict[str, Any]:
        """The line of the log on this file."""
        return self.daemon.wait_for("tftp.transfer", file=name)


@contextlib.contextmanager
def built(snat: str) -> Iterator[Site]:
    text = f"""
version: 1
policies:
  - name: hasty
    from: [lan0]
    source: {HASTY}
    action: accept
    snat: {snat}
    options: {{tftp: {{open_seconds: {OPEN_SECONDS}, {OPTIONS}}}}}
  - {{name: out, from: [lan0], action: accept, snat: {snat}, options: {{tftp: {{{OPTIONS}}}}}}}
limits: {{sessions_per_client: {SESSIONS}}}
"""
    with (
        Lab("routed" if snat == "none" else "nat") as lab,
        pinhole(lab, text, unprivileged=True) as daemon,
    ):
        daemon.lock_down()
        lab.client.run(["ip", "address", "add", f"{HASTY}/24", "dev", "eth0"])
        site = Site(lab, daemon, (str(lab.server.v4), 69))
        site.listening = End(site, lab.server, 69)
        yield site
        for end in site.ends:
            end.sock.close()


@pytest.fixture(scope="module", params=["none", "interface"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with built(request.param) as made:
        yield made


def test_nobody_else_speaks_to_the_port_that_waits_for_an_answer(site: Site) -> None:
    """TF11, TF14: neither another server nor a stranger, before the answer or behind it."""
    client, server, rogue = site.client(), site.answering(), End(site, site.lab.server_stranger, 69)
    seen = site.asked(client, "third")
    rogue.send(data(1, b"rogue"), seen)
    assert client.hears_nothing()
    server.send(data(1, BLOCK), seen)
    packet, at = client.hear()
    assert (packet, at[0]) == (data(1, BLOCK), site.at[0])
    client.send(ack(1), at)
    assert server.hear()[0] == ack(1)
    for packet in (b"\0\5\0\0give up\0", data(2, b"rogue"), ack(1)):
        rogue.send(packet, seen)
    assert client.hears_nothing()
    server.send(data(2), seen)
    client.send(ack(2), client.hear()[1])
    line = site.transfer("third")
    assert (line["result"], line["bytes"]) == ("complete", 515)


def test_of_two_ports_of_the_server_the_first_one_has_the_transfer(site: Site) -> None:
    """TF14, TF15: the request came twice, and the server has begun two transfers."""
    client, first, second = site.client(), site.answering(), site.answering()
    seen = site.asked(client, "twice")
    assert site.asked(client, "twice") == seen
    first.send(data(1), seen)
    _, at = client.hear()
    second.send(data(1, b"the same, once more"), seen)
    second.send(b"\0\5\0\0broken\0", seen)
    assert client.hears_nothing()
    assert second.hears_nothing()
    client.send(ack(1), at)
    assert first.hear()[0] == ack(1)
    assert site.transfer("twice")["result"] == "complete"
    assert site.daemon.wait_for("session.denied", client=f"{site.at[0]}:{second.port}")


def test_what_is_no_request_begins_nothing(site: Site) -> None:
    client = site.client()
    for packet in (data(1), ack(0), b"\0\5\0\0no\0", b"\0\6", b"GET / HTTP/1.1\r\n\r\n", b"", b"\0\1no mode"):
        client.send(packet, site.at)
    assert site.listening.hears_nothing()
    site.daemon.wait_for("session.denied", client=f"{site.lab.client.v4}:{client.port}", reason="not_tftp")
    assert site.violation("tftp.malformed")["action"] == "dropped"


def test_a_request_within_a_transfer_opens_nothing(site: Site) -> None:
    """A hole by text: neither in the file nor to the port that sends it."""
    client, server = site.client(), site.answering()
    seen = site.asked(client, "within")
    server.send(data(1, rrq("inner").ljust(512, b"\0")), seen)
    _, at = client.hear()
    client.send(rrq("inner"), at)
    client.send(data(1, b"written in spite of `write: deny`"), at)
    assert server.hears_nothing()
    client.send(ack(1), at)
    assert server.hear()[0] == ack(1)
    assert site.violation("tftp.not_tftp")["action"] == "dropped"
    site.daemon.until(pinholes=0)
    server.send(data(2), seen)
    client.send(ack(2), client.hear()[1])
    assert site.transfer("within")["bytes"] == 515
    assert not site.daemon.audit("tftp.request", file="inner")


def test_names_that_lead_elsewhere_and_writes_reach_no_server(site: Site) -> None:
    client = site.client()
    tricks = ("secret/x", "/secret/x", "boot/../secret/x", "..\\secret\\x", "SECRET/x", "./secret//x\x1b[2J")
    for packet in (*map(rrq, tricks), b"\0\2running-config\0octet\0"):
        client.send(packet, site.at)
        assert client.hear() == (b"\0\5\0\2refused\0", site.at)
    assert site.listening.hears_nothing()
    assert site.violation("tftp.write")["detail"] == "WRQ of 'running-config'"
    assert "\\x1b" in site.daemon.wait_for("violation", rule="tftp.name", count=len(tricks))["detail"]


def test_a_file_that_is_too_long_is_broken_off_at_both_ends(site: Site) -> None:
    client, server = site.client(), site.answering()
    seen = site.asked(client, "long")
    for number in range(1, 4):
        server.send(data(number, BLOCK), seen)
        packet, at = client.hear()
        assert packet == data(number, BLOCK)
        client.send(ack(number), at)
        assert server.hear()[0] == ack(number)
    server.send(data(4, BLOCK), seen)
    assert client.hear()[0] == server.hear()[0] == b"\0\5\0\3file too long\0"
    assert site.transfer("long")["result"] == "refused"


def test_a_broadcast_is_taken_over_by_nobody(site: Site) -> None:
    """TF20."""
    client = site.client()
    for to in ("255.255.255.255", "10.1.0.255", "198.51.100.255", "224.0.0.1", "239.255.0.1"):
        with contextlib.suppress(OSError):
            client.send(rrq("boot"), (to, 69))
    assert client.hears_nothing() and site.listening.hears_nothing()
    # Sessions of the tests before end meanwhile, each with a line of its own.
    assert not [line for line in site.daemon.audit() if f"{site.lab.client.v4}:{client.port}" in str(line)]


def test_an_answer_that_comes_too_late_finds_nothing_open(site: Site) -> None:
    client, server = site.hasty(), site.answering()
    seen = site.asked(client, "late")
    assert site.transfer("late")["result"] == "unanswered"
    server.send(data(1), seen)
    assert client.hears_nothing()


def test_who_asks_and_asks_hinders_nobody_else(site: Site) -> None:
    """Half-open requests: the limit is the client's own, and they are gone when their time is over."""
    clients = [site.hasty() for _ in range(SESSIONS + 20)]

    def is_limited() -> bool:
        for client in clients:
            client.send(rrq("flood"), site.at)
        return bool(site.daemon.audit("session.denied", reason="limit_per_client"))

    until(is_limited)  # at once, unless the first requests have grown too old before the last ones were sent
    while not site.listening.hears_nothing():
        pass
    other, server = End(site, site.lab.client_stranger), site.answering()
    server.send(data(1), site.asked(other, "other"))
    packet, at = other.hear()
    assert packet == data(1)
    other.send(ack(1), at)
    assert site.transfer("other")["result"] == "complete"
    site.daemon.until(pinholes=0)
    for client in clients:
        client.sock.close()


def test_who_says_that_it_has_not_asked_hears_no_more(site: Site) -> None:
    """TF22, TF7: the victim of a forged request answers what the server sends it with an ERROR. The server is told, and
    even if it goes on nothing more comes through."""
    victim, server = End(site, site.lab.client_stranger), site.answering()
    forge(site, str(site.lab.client_stranger.v4), victim.port, rrq("disowned"))
    seen = site.heard_from("disowned")
    server.send(data(1, BLOCK), seen)
    packet, at = victim.hear()
    assert packet == data(1, BLOCK)
    victim.send(unknown := b"\0\5\0\5unknown transfer\0", at)
    assert server.hear()[0] == unknown
    assert site.transfer("disowned")["result"] == "error 5 unknown transfer"
    for number in (1, 2):
        server.send(data(number, BLOCK), seen)
    assert victim.hears_nothing()


def test_answers_to_forged_requests_come_to_an_end(site: Site) -> None:
    """TF22: the neighbour of a victim asks in its name. What comes to the victim is bounded, and a machine that has
    booted before is served all the while."""
    known, server = End(site, site.lab.client), site.answering()
    server.send(data(1), site.asked(known, "known"))
    known.send(ack(1), known.hear()[1])
    assert server.hear()[0] == ack(1)
    victim = str(site.lab.client_stranger.v4)
    for number in range(UNANSWERED):
        forge(site, victim, 40_000 + number, rrq(f"forged{number}"))
        site.answering().send(data(1), site.heard_from(f"forged{number}"))
    ports = itertools.count(41_000)

    def is_refused() -> bool:
        """Whether the victim has a line. The server may have one before, since it counts for whoever disowned its
        answer, too."""
        forge(site, victim, next(ports), rrq("more"))
        time.sleep(0.3)
        return any(victim in line["detail"] for line in site.daemon.audit("violation", rule="tftp.reflection"))

    until(is_refused)
    while not site.listening.hears_nothing():
        pass
    forge(site, victim, next(ports), rrq("still more"))
    assert site.listening.hears_nothing()
    again = End(site, site.lab.client)
    assert site.asked(again, "again")
    site.daemon.wait_for("tftp.request", file="again")
    assert not site.daemon.audit("tftp.request", file="still more")


def forge(site: Site, source: str, port: int, packet: bytes) -> None:
    """The client sends a datagram in the name of another host of its network."""
    to = site.at
    udp = struct.pack(">HHHH", port, to[1], 8 + len(packet), 0) + packet
    addresses = socket.inet_aton(source), socket.inet_aton(to[0])
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, *addresses)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    gateway = site.lab.gateway.run(["ip", "-brief", "link", "show", "lan0"]).stdout.split()[2]
    with site.lab.client.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        sock.sendto(head + udp, ("eth0", 0x0800, 0, 0, bytes.fromhex(gateway.replace(":", ""))))


def test_when_the_daemon_is_killed_nothing_stays_open() -> None:
    with built("none") as site:
        client, server = site.client(), site.answering()
        seen = site.asked(client, "cut")
        server.send(data(1, BLOCK), seen)
        client.send(ack(1), client.hear()[1])
        assert server.hear()[0] == ack(1)
        site.daemon.signal(signal.SIGKILL)
        site.daemon.wait()
        server.send(data(2, BLOCK), seen)
        assert client.hears_nothing()
