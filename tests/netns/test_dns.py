"""DNS through a gateway with hosts that lie: forged answers, messages that are none, and names that lead elsewhere."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.dns.stream import framed
from tests.netns.namespaces import needs_root
from tests.protocols.dns.messages import answer, question, read, records
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

WAIT = 5.0
"""Seconds for anything that is to come."""
NOTHING = 0.15
"""Seconds in which what is not to come would have."""
PORT = 53

POLICIES = """
version: 1
session-helpers:
  - {id: 1, name: dns, protocol: udp, port: 53}
  - {id: 2, name: dns, protocol: tcp, port: 53}
policies:
  - {name: publish, from: wan0, destination: 198.51.100.1, action: accept, dnat: 10.1.0.2,
     options: {dns: {published: translate}}}
  - {name: publish6, from: wan0, destination: "2001:db8:2::1", action: accept, dnat: "fd01::2",
     options: {dns: {published: translate}}}
  - {name: out, from: lan0, action: accept, snat: interface,
     options: {dns: {published: translate, rebinding: refuse, unanswered_seconds: 60}}}
"""
"""The client's host is published at the gateway's own addresses outside. A question may be answered for longer than any
test waits between its steps."""


class Site:
    def __init__(self, lab: Lab, daemon: Daemon) -> None:
        self.lab, self.daemon = lab, daemon
        self.open: list[socket.socket] = []

    def udp(self, host: Host, version: int = 4, port: int = 0) -> socket.socket:
        return self._bound(host, version, port, socket.SOCK_DGRAM)

    def tcp(self, host: Host, version: int = 4, port: int = 0) -> socket.socket:
        return self._bound(host, version, port, socket.SOCK_STREAM)

    def _bound(self, host: Host, version: int, port: int, kind: socket.SocketKind) -> socket.socket:
        with host.inside():
            sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        if kind is socket.SOCK_STREAM:  # of datagrams, two would be given the same free port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(host.address(version)), port))
        sock.settimeout(WAIT)
        self.open.append(sock)
        return sock

    def asked(self, version: int = 4, asked: bytes | None = None) -> tuple[socket.socket, socket.socket, Any]:
        """A client that has asked a server outside, that server, and the client's address as the server sees it."""
        server, client = self.udp(self.lab.server, version, PORT), self.udp(self.lab.client_stranger, version)
        client.sendto(asked or A, server.getsockname()[:2])
        data, seen = server.recvfrom(4096)
        assert data == (asked or A)
        return client, server, seen

    def violations(self, before: int) -> list[str]:
        return [line["rule"] for line in self.daemon.audit("violation")[before:]]

    def close(self) -> None:
        for sock in self.open:
            sock.close()
        self.open.clear()


A = question("www.example", "A", 0x1234)
TRUE = answer(A, "www.example. 60 IN A 192.0.2.1")
FALSE = answer(A, "www.example. 60 IN A 192.0.2.66")


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with Lab("nat") as lab, pinhole(lab, POLICIES, unprivileged=True) as daemon:
        yield Site(lab, daemon)


@pytest.fixture
def site(place: Site) -> Iterator[Site]:
    yield place
    place.close()


def silent(sock: socket.socket) -> bool:
    return not select.select([sock], [], [], NOTHING)[0]


@pytest.mark.parametrize("version", [4, 6])
def test_false_answers_of_all_kinds_are_dropped_and_the_true_one_comes(site: Site, version: int) -> None:
    """DN8: wrong id, wrong name, wrong case; and from another port or host, of which policies decide."""
    before = len(site.daemon.audit("violation"))
    client, server, seen = site.asked(version)
    for wrong in (
        b"\x12\x35" + FALSE[2:],
        answer(question("www.exampel", "A", 0x1234)),
        answer(question("WWW.example", "A", 0x1234)),
        FALSE[:20],
        b"\xff",
    ):
        server.sendto(wrong, seen)
    site.udp(site.lab.server, version, 5353).sendto(FALSE, seen)
    site.udp(site.lab.server_stranger, version, PORT).sendto(FALSE, seen)
    assert silent(client)
    server.sendto(TRUE, seen)
    assert client.recv(4096) == TRUE
    site.daemon.wait_for("violation", count=before + 5)
    assert sorted(site.violations(before)) == ["dns.malformed"] * 2 + ["dns.unasked"] * 3


def test_who_guesses_ids_is_told_of(site: Site) -> None:
    client, server, seen = site.asked()
    for number in range(40):
        server.sendto(number.to_bytes(2, "big") + FALSE[2:], seen)
    site.daemon.wait_for("violation", rule="dns.spoofing")
    server.sendto(TRUE, seen)
    assert client.recv(4096) == TRUE


def test_of_two_answers_the_first_one_counts_and_the_other_one_is_told_of(site: Site) -> None:
    """DN9."""
    client, server, seen = site.asked()
    server.sendto(FALSE, seen)
    server.sendto(TRUE, seen)
    assert client.recv(4096) == FALSE
    assert silent(client)
    site.daemon.wait_for("violation", rule="dns.second_answer")


HEAD, BEHIND = TRUE[:7] + b"\1" + TRUE[8:29], b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"


@pytest.mark.parametrize(
    "owner",
    [b"\xc0\x1d", b"\xc0\x1f", b"\xff\xff", b"\x40a\0", b"\x3f" + b"a" * 63 + b"\xc0\x1d", (b"\x3f" + b"a" * 63) * 4],
    ids=["itself", "forward", "far", "unknown", "loop", "long"],
)
def test_names_that_are_none_do_not_reach_the_client(site: Site, owner: bytes) -> None:
    """DN1: the pointers of such names lead to themselves, ahead, or nowhere."""
    client, server, seen = site.asked()
    server.sendto(HEAD + owner + BEHIND, seen)
    assert silent(client)
    server.sendto(TRUE, seen)
    assert client.recv(4096) == TRUE


def test_counts_that_lie_do_not_either(site: Site) -> None:
    client, server, seen = site.asked()
    server.sendto(TRUE[:6] + b"\xff\xff" + TRUE[8:], seen)
    assert silent(client)
    server.sendto(TRUE, seen)
    assert client.recv(4096) == TRUE


def test_a_name_of_the_internet_does_not_lead_inside(site: Site) -> None:
    client, server, seen = site.asked()
    server.sendto(answer(A, "www.example. 60 IN A 10.1.0.1"), seen)
    assert read(client.recv(4096)).rcode() == 5
    site.daemon.wait_for("violation", rule="dns.rebinding")


@pytest.mark.parametrize(("version", "kind"), [(4, "A"), (6, "AAAA")])
def test_a_published_server_is_reached_by_its_own_address_from_inside(site: Site, version: int, kind: str) -> None:
    """DN13: the client asks a server outside, which knows the published address."""
    asked = question("www.example", kind, 0x1234)
    client, server, seen = site.asked(version, asked)
    server.sendto(answer(asked, f"www.example. 600 IN {kind} {site.lab.gateway.address(version, 'wan0')}"), seen)
    assert records(client.recv(4096)) == [f"www.example. 60 IN {kind} {site.lab.client.address(version)}"]


@pytest.mark.parametrize(("version", "kind"), [(4, "A"), (6, "AAAA")])
def test_and_by_the_published_address_from_outside(site: Site, version: int, kind: str) -> None:
    """DN13: the client asks the published server itself, which knows its own address."""
    asked = question("www.example", kind, 0x1234)
    published = site.lab.gateway.address(version, "wan0")
    server, client = site.udp(site.lab.client, version, PORT), site.udp(site.lab.server_stranger, version)
    client.sendto(asked, (str(published), PORT))
    data, seen = server.recvfrom(4096)
    assert (data, ip_address(seen[0])) == (asked, site.lab.server_stranger.address(version))
    own = site.lab.client.address(version)
    other = site.lab.client_stranger.address(version)
    server.sendto(answer(asked, f"www.example. 600 IN {kind} {own}", f"www.example. 600 IN {kind} {other}"), seen)
    assert records(client.recv(4096)) == [
        f"www.example. 60 IN {kind} {published}", f"www.example. 60 IN {kind} {other}",
    ]  # fmt: skip


def test_questions_by_tcp_come_one_byte_at_a_time_and_answers_too(site: Site) -> None:
    """DN2."""
    listener = site.tcp(site.lab.server, 4, PORT)
    listener.listen()
    client = site.tcp(site.lab.client_stranger)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    with server:
        server.settimeout(WAIT)
        other = question("other.example", "AAAA", 7)
        for byte in framed(A) + framed(other):
            client.sendall(bytes((byte,)))
        assert _whole(server, len(framed(A) + framed(other))) == framed(A) + framed(other)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = framed(answer(other)) + framed(FALSE[:2] + TRUE[2:])
        for byte in answers:
            server.sendall(bytes((byte,)))
        assert _whole(client, len(answers)) == answers


def _whole(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def test_what_is_no_dns_is_not_let_through(site: Site) -> None:
    """DN5."""
    server, client = site.udp(site.lab.server, 4, PORT), site.udp(site.lab.client_stranger)
    denied = len(site.daemon.audit("session.denied"))
    client.sendto(b"\x38" + bytes(40), server.getsockname())  # a tunnel
    assert site.daemon.wait_for("session.denied", count=denied + 1)["reason"] == "not_dns"
    assert silent(server)
    listener = site.tcp(site.lab.server, 4, PORT)
    listener.listen()
    stream = site.tcp(site.lab.client_stranger)
    stream.connect(listener.getsockname())
    accepted, _ = listener.accept()
    with accepted, contextlib.suppress(ConnectionResetError):
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        accepted.settimeout(WAIT)
        assert accepted.recv(100) == b""
        assert stream.recv(100) == b""


def test_a_client_may_ask_from_a_new_port_each_time(site: Site) -> None:
    """DN24: more often in a second than it may have sessions at once, and nothing is lost."""
    server = site.udp(site.lab.server, 4, PORT)
    at = server.getsockname()
    clients = [site.udp(site.lab.client_stranger) for _ in range(20)]
    for number in range(20):
        for client in clients:
            client.sendto(A, at)
        for _ in clients:
            data, seen = server.recvfrom(4096)
            server.sendto(answer(data, "www.example. 60 IN A 192.0.2.1"), seen)
        for client in clients:
            assert client.recv(4096) == TRUE, number
            client.close()
        clients = [site.udp(site.lab.client_stranger) for _ in range(20)]
    assert "limit_per_client" not in [line["reason"] for line in site.daemon.audit("session.denied")]


def test_a_session_is_short_and_counted(site: Site) -> None:
    """DN6: nothing is left a moment after the last answer, and the log has one line for all of them."""
    client, server, seen = site.asked()
    server.sendto(TRUE, seen)
    assert client.recv(4096) == TRUE
    began = time.monotonic()
    site.daemon.until(sessions=0, udp_endpoints=0)
    assert time.monotonic() - began < 20
    assert site.daemon.audit("session.opened") == []


def test_no_false_answer_with_a_forged_address_is_taken(site: Site) -> None:
    """A host outside forges the server's address, and has to guess port, id and question."""
    client, server, seen = site.asked()
    forger = site.lab.server_stranger
    with forger.inside():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    with raw:
        for wrong in (b"\0\0" + FALSE[2:], b"\x12\x35" + FALSE[2:]):
            raw.sendto(_datagram(server.getsockname(), seen, wrong), (seen[0], 0))
        assert silent(client)
        server.sendto(TRUE, seen)
        assert client.recv(4096) == TRUE


def _datagram(source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0) + data
    ends = ip_address(source[0]).packed + ip_address(target[0]).packed
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + ends + udp
