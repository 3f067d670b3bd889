"""The portmapper's helper with scripted clients and servers, through a locked-down gateway: how long what it opens
stands, and attacks of either side, each really tried (PM22, PM23, PM24, PM40, PM41, PM42, PM43)."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocols.pmap.options import PmapOptions
from protocols.pmap.wire import MAX_CALL_BYTES, number, record
from tests.harness.pmap_messages import (
    CALLIT,
    DUMP,
    GETADDR,
    MOUNTD,
    NFS,
    SET,
    TCP,
    UDP,
    address,
    call,
    getaddr,
    getport,
    in_fragments,
    listed,
    numbers,
    port,
    reply,
)
from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Host, Lab, pinhole

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 10
SOON_SECONDS = 0.3
PATIENCE = 60.0
"""How long what is opened stands, unless a test is about that: a busy machine may take seconds to use it."""
HOLD, IDLE = 1.0, 1.0
LONGER = 1.4
"""Than either."""
SERVICE = 31000
_PORTS = itertools.count(20001)
IP_TRANSPARENT = 19
MOST_SERVICES = PmapOptions().max_services
"""Of one client, at once."""


@dataclass
class Site:
    """A lab with pinhole on its gateway, which drops all else: a client inside, and its server outside or published."""

    lab: Lab
    daemon: Daemon
    is_published: bool = False
    snat: str = "none"
    before: int = 0
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def client(self) -> Host:
        return self.lab.server if self.is_published else self.lab.client

    @property
    def server(self) -> Host:
        return self.lab.client if self.is_published else self.lab.server

    @property
    def stranger(self) -> Host:
        """A host beside the client."""
        return self.lab.server_stranger if self.is_published else self.lab.client_stranger

    def known(self, version: int = 4) -> str:
        """Where clients find the server."""
        return str(self.lab.gateway.address(version, "wan0") if self.is_published else self.server.address(version))

    # -- sockets -------------------------------------------------------------------------------------------------------

    def datagrams(self, host: Host, at: int = 0, version: int = 4) -> socket.socket:
        """A socket on the host's own address."""
        with host.inside():
            sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self.stack.enter_context(sock)
        sock.settimeout(SECONDS)
        # A call is known by its number and the client's port, so no test has the port of one before.
        sock.bind((str(host.address(version)), at or next(_PORTS)))
        return sock

    def listener(self, host: Host, at: int, version: int = 4) -> socket.socket:
        with host.inside():
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            sock = socket.create_server((str(host.address(version)), at), family=family)
        sock.settimeout(SECONDS)
        return self.stack.enter_context(sock)

    def dial(self, host: Host, at: int, seconds: float = SECONDS, version: int = 4) -> socket.socket:
        with host.inside():
            return self.stack.enter_context(socket.create_connection((self.known(version), at), seconds))

    def connected(
        self, listener: socket.socket, at: int, host: Host | None = None
    ) -> tuple[socket.socket, socket.socket]:
        """A connection through the gateway, both of whose ends work."""
        near = self.dial(host or self.client, at, version=6 if listener.family == socket.AF_INET6 else 4)
        far, _ = listener.accept()
        self.stack.enter_context(far)
        far.settimeout(SECONDS)
        assert passes(near, far) and passes(far, near)
        return near, far

    def is_closed(self, at: int, host: Host | None = None) -> bool:
        """Whether nobody is reached there: at a port of ours a stranger may be let in, only to be reset."""
        try:
            sock = self.dial(host or self.client, at, SOON_SECONDS)
        except OSError:
            return True
        sock.settimeout(SECONDS)
        return ended(sock)

    # -- talk over UDP -------------------------------------------------------------------------------------------------

    def asks(self, client: socket.socket, server: socket.socket, question: bytes, answer: bytes) -> bytes:
        """What the client hears when it has asked, and the server has answered."""
        version = 4 if client.family == socket.AF_INET else 6
        client.sendto(question, (self.known(version), 111))
        _, source = server.recvfrom(65535)
        server.sendto(answer, source)
        return client.recv(65535)

    # -- how long what it opens stands ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lasting(self, hold: float = PATIENCE, idle: float = PATIENCE) -> Iterator[None]:
        """What sessions open that begin in here stands for so long."""
        self.daemon.reload(text_of(self.lab, self.is_published, self.snat, hold, idle))
        try:
            yield
        finally:
            self.daemon.reload(text_of(self.lab, self.is_published, self.snat, PATIENCE, PATIENCE))

    # -- the log -------------------------------------------------------------------------------------------------------

    def told(self, event: str, count: int = 1, **facts: Any) -> list[dict[str, Any]]:
        """The lines of this test, once there are so many."""
        end = time.monotonic() + SECONDS
        while len(found := [line for line in self.daemon.audit(event, **facts) if line["seq"] > self.before]) < count:
            assert time.monotonic() < end, f"{event} {facts}: {found}\n{self.daemon.report()}"
            time.sleep(0.01)
        return found

    def nothing_was_opened(self) -> None:
        assert [line for line in self.daemon.audit("pinhole.opened") if line["seq"] > self.before] == []


def passes(near: socket.socket, far: socket.socket) -> bool:
    near.sendall(b"through")
    return far.recv(100) == b"through"


def ended(sock: socket.socket) -> bool:
    """Whether the gateway has ended this connection, with nothing said."""
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def text_of(lab: Lab, is_published: bool, snat: str, hold: float, idle: float) -> str:
    """The configuration."""
    options = f"options: {{pmap: {{hold: {hold}, idle: {idle}}}}}"
    if is_published:
        policies = "".join(
            f"\n  - {{name: publish-{version}, from: [wan0], action: accept, {options}, "
            f"destination: ['{lab.gateway.address(version, 'wan0')}'], dnat: '{lab.client.address(version)}'}}"
            for version in (4, 6)
        )
    else:
        policies = f"\n  - {{name: lan-out, from: [lan0], action: accept, snat: {snat}, {options}}}"
    return f"policies:{policies}\ntimeouts: {{drain: 0.1}}"


@contextlib.contextmanager
def site(is_published: bool = False, snat: str = "none") -> Iterator[Site]:
    with Lab("routed" if snat == "none" else "nat") as lab:
        text = text_of(lab, is_published, snat, PATIENCE, PATIENCE)
        with pinhole(lab, text, unprivileged=True) as daemon:
            daemon.lock_down()
            yield Site(lab, daemon, is_published, snat)


@pytest.fixture(scope="module", params=["routed", "hiding", "published"])
def place(request: pytest.FixtureRequest) -> Iterator[Site]:
    snat = "interface" if request.param == "hiding" else "none"
    with site(request.param == "published", snat) as place:
        yield place


once = pytest.mark.parametrize("place", ["routed"], indirect=True)
"""For what has nothing to do with NAT."""


@pytest.fixture
def gate(place: Site) -> Iterator[Site]:
    """The site for one test, after which a lookup works as any other."""
    place.before = max((line["seq"] for line in place.daemon.audit()), default=0)
    with place.stack:
        yield place
    with place.stack:
        client, server, service = place.datagrams(place.client), place.datagrams(place.server, 111), SERVICE + 999
        listener = place.listener(place.server, service)
        known_as = int.from_bytes(place.asks(client, server, getport(), port(service))[-4:], "big")
        near, _ = place.connected(listener, known_as)
        host, at = near.getsockname()[:2]
        place.daemon.wait_for("pinhole.used", peer=f"{host}:{at}")
    assert place.daemon.audit("engine.failed") == place.daemon.audit("daemon.failed") == []


# -- what is opened, and for how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 6])
def test_a_service_stands_while_a_connection_does_and_some_time_after(gate: Site, version: int) -> None:
    """PM21, PM22: as many connections as come, though the session that asked is over."""
    listener, portmapper = (gate.listener(gate.server, at, version) for at in (SERVICE, 111))
    with (
        gate.lasting(idle=IDLE),
        gate.dial(gate.client, 111, version=version) as client,
        portmapper.accept()[0] as server,
    ):
        client.sendall(record(getport()))
        assert server.recv(1000) == record(getport())
        server.sendall(record(port(SERVICE)))
        known_as = int.from_bytes(client.recv(1000)[-4:], "big")
    assert known_as == SERVICE  # also where it is published, since it is free
    gate.told("session.closed")
    pair = gate.connected(listener, known_as)
    end = time.monotonic() + LONGER
    while time.monotonic() < end:
        assert passes(*pair)
        time.sleep(0.1)
    for sock in gate.connected(listener, known_as):
        sock.close()
    for sock in pair:
        sock.close()
    (opened,) = gate.told("pinhole.opened")
    (closed,) = gate.told("pinhole.closed", pinhole=opened["pinhole"])
    assert closed["reason"] == "expired" and closed["duration_seconds"] >= LONGER + IDLE
    assert gate.is_closed(known_as)


@once
def test_one_that_nobody_uses_is_closed_and_may_be_asked_for_again(gate: Site) -> None:
    client, server, listener = (
        gate.datagrams(gate.client),
        gate.datagrams(gate.server, 111),
        gate.listener(gate.server, 31001),
    )
    with gate.lasting(hold=HOLD):
        for xid in (1, 2):
            gate.asks(client, server, getport(xid=xid), port(31001, xid=xid))
            *_, opened = gate.told("pinhole.opened", count=xid)
            gate.told("pinhole.closed", pinhole=opened["pinhole"])
        assert gate.is_closed(31001)
    gate.asks(gate.datagrams(gate.client), server, getport(xid=3), port(31001, xid=3))
    gate.connected(listener, 31001)


def test_services_have_ports_below_1024(gate: Site) -> None:
    """PM24: as rpc.mountd has, by bindresvport(3)."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    listener, service = gate.listener(gate.server, 892), gate.datagrams(gate.server, 892)
    answer = gate.asks(client, server, getport(MOUNTD, xid=1), port(892, xid=1))
    gate.connected(listener, int.from_bytes(answer[-4:], "big"))
    answer = gate.asks(client, server, getport(MOUNTD, protocol=UDP, xid=2), port(892, xid=2))
    client.sendto(b"call", (gate.known(), int.from_bytes(answer[-4:], "big")))
    assert service.recv(100) == b"call"


def test_datagrams_come_from_any_port_of_the_client(gate: Site) -> None:
    """PM21: from the very socket that has asked, too."""
    client, server, service = (
        gate.datagrams(gate.client),
        gate.datagrams(gate.server, 111),
        gate.datagrams(gate.server, 31002),
    )
    answer = gate.asks(client, server, getport(protocol=UDP), port(31002))
    known_as = (gate.known(), int.from_bytes(answer[-4:], "big"))
    for sock in (client, gate.datagrams(gate.client), gate.datagrams(gate.client, 900)):
        sock.sendto(b"call", known_as)
        data, source = service.recvfrom(100)
        service.sendto(b"reply", source)
        assert (data, sock.recvfrom(100)) == (b"call", (b"reply", known_as))
        assert (sock.getsockname()[1] < 1024) == (source[1] < 1024)


def test_a_record_may_come_byte_by_byte_and_many_at_once(gate: Site) -> None:
    """PM1."""
    portmapper = gate.listener(gate.server, 111)
    client, (server, _) = gate.dial(gate.client, 111), portmapper.accept()
    with server:
        first, second = in_fragments(getport(xid=1), 1, 0, 9), record(getport(MOUNTD, xid=2))
        for at in range(len(first)):
            client.sendall(first[at : at + 1])
        client.sendall(second)
        assert read(server, len(first) + len(second)) == first + second
        server.sendall(in_fragments(port(0, xid=2), 3, 3) + record(port(0, xid=1)))
        assert read(client, 2 * 28 + 12)[-28:] == port(0, xid=1)


def read(sock: socket.socket, size: int) -> bytes:
    sock.settimeout(SECONDS)
    data = b""
    while len(data) < size:
        part = sock.recv(65536)
        assert part, f"{data!r} and no more"
        data += part
    return data


# -- who does not come by ----------------------------------------------------------------------------------------------


def test_a_stranger_does_not_come_to_a_service_that_is_open(gate: Site) -> None:
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    listener, service = gate.listener(gate.server, 31003), gate.datagrams(gate.server, 31003)
    for protocol in (TCP, UDP):
        gate.asks(client, server, getport(protocol=protocol, xid=protocol), port(31003, xid=protocol))
    assert gate.is_closed(31003, gate.stranger)
    gate.datagrams(gate.stranger).sendto(b"call", (gate.known(), 31003))
    client.sendto(b"true", (gate.known(), 31003))
    assert service.recv(100) == b"true"
    gate.connected(listener, 31003)
    assert {line["peer"].split(":")[0] for line in gate.told("pinhole.used", 2)} == {str(gate.client.v4)}


@pytest.mark.parametrize("answered", [22, 873, 111, 0, 65536, 2**32 - 1])
def test_no_answer_opens_a_port_of_another_service(gate: Site, answered: int) -> None:
    """PM24."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    gate.asks(client, server, getport(), port(answered))
    gate.told("pmap.lookup" if answered <= 65535 else "violation")
    gate.nothing_was_opened()
    assert answered in (0, 111) or answered > 65535 or gate.is_closed(answered)


def test_no_answer_opens_a_port_of_a_third_host(gate: Site) -> None:
    """PM23."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    victim = gate.lab.client_stranger if gate.is_published else gate.lab.server_stranger
    for host in (victim.v4, gate.lab.gateway.address(4, "lan0"), gate.client.v4, "127.0.0.1"):
        at = f"{host}.{SERVICE >> 8}.{SERVICE & 255}".encode()
        assert gate.asks(client, server, getaddr(), address(at)) == address(at)
        client = gate.datagrams(gate.client)
    assert {line["rule"] for line in gate.told("violation", 4)} == {"pmap.elsewhere"}
    gate.nothing_was_opened()


def test_a_reply_that_nobody_asked_for_opens_nothing(gate: Site) -> None:
    """PM6: before any question, and to another one than was asked."""
    portmapper = gate.listener(gate.server, 111)
    client, (server, _) = gate.dial(gate.client, 111), portmapper.accept()
    with server:
        server.sendall(record(port(SERVICE)))
        read(client, 32)
        client.sendall(record(getport(xid=8)))
        server.sendall(record(port(SERVICE, xid=9)))
        read(client, 32)
    assert [line["rule"] for line in gate.told("violation", 2)] == ["pmap.unsolicited"] * 2
    gate.nothing_was_opened()


def test_of_two_replies_the_first_one_counts(gate: Site) -> None:
    """PM43: a host beside the server guesses all there is to guess, and is too late."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    client.sendto(getport(), (gate.known(), 111))
    _, source = server.recvfrom(1000)
    server.sendto(port(31004), source)
    client.recv(1000)
    forger = gate.lab.client_stranger if gate.is_published else gate.lab.server_stranger
    with forger.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        sock.bind((str(gate.server.v4), 111))
        sock.sendto(port(31005), source)
        sock.sendto(port(31005, xid=9), source)
    assert [line["rule"] for line in gate.told("violation", 2)] == ["pmap.conflict", "pmap.unsolicited"]
    assert [line["target"].rpartition(":")[2] for line in gate.told("pinhole.opened")] == ["31004"]


# -- what does not reach the server ------------------------------------------------------------------------------------


def test_nobody_has_the_portmapper_call_or_register_anything(gate: Site) -> None:
    """PM40."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    at = (gate.known(), 111)
    client.sendto(call(2, CALLIT, numbers(MOUNTD, 3, 0, 0), xid=1), at)
    client.sendto(call(4, SET, numbers(NFS, 3, TCP, SERVICE), xid=2), at)
    assert client.recv(1000) == reply(xid=2, status=5)
    client.sendto(getport(xid=3), at)
    assert server.recv(1000) == getport(xid=3)
    portmapper = gate.listener(gate.server, 111)
    stream, (far, _) = gate.dial(gate.client, 111), portmapper.accept()
    with far:
        stream.sendall(record(call(4, 10, b"", xid=4)) + record(getport(xid=5)))
        assert read(stream, 28) == record(reply(xid=4, status=3))
        assert read(far, 60) == record(getport(xid=5))
    assert [line["rule"] for line in gate.told("violation", 3)] == ["pmap.indirect", "pmap.write", "pmap.indirect"]


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes.fromhex("160301020001"),
        b"SSH-2.0-x\r\n",
        number(2**31 - 1),
        record(b"x" * 60),
        bytes(4) * 300,
    ],
    ids=["http", "tls", "ssh", "longest", "no_call", "empty_fragments"],
)
def test_what_is_no_rpc_is_cut_off_and_reaches_no_server(gate: Site, said: bytes) -> None:
    """PM5, PM42."""
    portmapper = gate.listener(gate.server, 111)
    client, (server, _) = gate.dial(gate.client, 111), portmapper.accept()
    with server:
        server.settimeout(SECONDS)
        client.sendall(said)
        assert ended(server) and ended(client)
    assert [line["rule"] for line in gate.told("violation")] == ["pmap.not_rpc"]
    gate.datagrams(gate.client).sendto(said, (gate.known(), 111))
    assert gate.told("session.denied")[0]["reason"] == "not_pmap"


def test_a_text_of_four_gigabytes_is_refused_whoever_claims_it(gate: Site) -> None:
    """PM42, CVE-2017-8779."""
    client, server = gate.datagrams(gate.client), gate.datagrams(gate.server, 111)
    longest = number(2**32 - 1)
    client.sendto(call(4, GETADDR, numbers(NFS, 3) + longest, xid=1), (gate.known(), 111))
    assert client.recv(1000) == reply(xid=1, status=4)
    client.sendto(getaddr(xid=2), (gate.known(), 111))
    question, source = server.recvfrom(1000)
    assert question == getaddr(xid=2)
    server.sendto(reply(longest, xid=2), source)
    assert client.recv(1000) == reply(xid=2, status=5)
    assert [line["rule"] for line in gate.told("violation", 2)] == ["pmap.malformed"] * 2
    gate.nothing_was_opened()


# -- floods ------------------------------------------------------------------------------------------------------------


@once
def test_ten_thousand_questions_open_few_services_and_leave_room_for_others(gate: Site) -> None:
    with gate.lasting(hold=HOLD):
        ten_thousand_are_asked(gate)


def ten_thousand_are_asked(gate: Site) -> None:
    portmapper = gate.listener(gate.server, 111)
    client, (server, _) = gate.dial(gate.client, 111), portmapper.accept()
    with server:
        answered, began = 0, time.monotonic()
        for first in range(0, 10_000, 50):
            client.sendall(b"".join(record(getport(xid=first + number)) for number in range(50)))
            read(server, 50 * 60)
            server.sendall(b"".join(record(port(20_000 + first + number, xid=first + number)) for number in range(50)))
            said = read(client, 50 * 32)
            answered += sum(said[at + 28 : at + 32] != bytes(4) for at in range(0, len(said), 32))
        took = time.monotonic() - began
    # Others are open, too, and the first ones are over before the last one is asked for: each holds its place for HOLD.
    assert 50 <= answered <= MOST_SERVICES * (took / HOLD + 2)
    stranger = gate.datagrams(gate.stranger)
    assert gate.asks(stranger, gate.datagrams(gate.server, 111), getport(), port(SERVICE)) == port(SERVICE)
    opened = gate.told("pinhole.opened", count=answered + 1)
    assert len(opened) == answered + 1
    wanted = {line["pinhole"] for line in opened}
    until(lambda: wanted <= {line["pinhole"] for line in gate.daemon.audit("pinhole.closed")}, gate.daemon.report)


@once
def test_whoever_forges_addresses_gets_few_lists_for_each(gate: Site) -> None:
    """PM41: the answer of kilobytes would go to them."""
    server, sender = gate.datagrams(gate.server, 111), gate.datagrams(gate.stranger)
    for xid in range(200):
        sender.sendto(call(2, DUMP, xid=xid), (gate.known(), 111))
    sender.sendto(getport(xid=1000), (gate.known(), 111))
    heard: list[bytes] = []
    while not heard or heard[-1] != getport(xid=1000):
        heard.append(server.recv(1000))
    assert len(heard) <= 10 + 2 * SECONDS
    gate.told("violation", rule="pmap.rate")


@once
def test_half_records_take_little(gate: Site) -> None:
    """PM42."""
    portmapper = gate.listener(gate.server, 111)
    half = number(MAX_CALL_BYTES) + bytes(MAX_CALL_BYTES - 1)
    sockets = [gate.dial(gate.client, 111) for _ in range(45)]
    for sock in sockets:
        gate.stack.enter_context(portmapper.accept()[0])
        with contextlib.suppress(OSError):  # some are cut off meanwhile
            sock.sendall(half)
    gate.told("violation", rule="pmap.held_too_much", count=5)


@once
def test_a_long_list_passes_in_pieces(gate: Site) -> None:
    """As rpcbind sends 413 entries: three fragments."""
    portmapper = gate.listener(gate.server, 111)
    answer = reply(listed([numbers(200_000 + number, 1, TCP, 30_000 + number) for number in range(413)]))
    client, (server, _) = gate.dial(gate.client, 111), portmapper.accept()
    with server:
        client.sendall(record(call(2, DUMP)))
        read(server, 44)
        server.sendall(in_fragments(answer, 4000, 4000))
        assert read(client, len(answer) + 12) == in_fragments(answer, 4000, 4000)
    assert gate.told("pmap.dump")[0]["entries"] == 413
    gate.nothing_was_opened()
