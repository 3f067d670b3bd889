"""The helper of DCE-RPC with scripted clients and servers, through a gateway that publishes its server and drops all
else: how long what it opens stands, datagrams, DCOM, callbacks, and answers that lie. With destination NAT alone
addresses in answers are others; routing and source NAT have Samba and its clients in tests/interop/test_dcerpc.py."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from tests.harness.dcerpc_messages import (
    ACTIVATOR,
    EPM,
    Port,
    activated,
    asks,
    bind,
    bound,
    datagram,
    maps,
    request,
    response,
    tower,
)
from tests.harness.waiting import attempts
from tests.netns.namespaces import needs_root
from tools.lab import Host, gateways
from tools.lab.gateways import Gateway, Role

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 10
SOON_SECONDS = 0.3
HOLD, LONG_HOLD = 1.0, 60.0
"""For the stranger, in tests that wait until its endpoint is gone, and for the client, in those that do not."""
CALLBACK = 5000


def _published(lab: Any) -> str:
    return "".join(
        f"""
  - name: {name}
    from: [wan0]
    source: ["{source}"]
    destination: ["{lab.gateway.v4}"]
    action: accept
    dnat: "{lab.client.v4}"
    options: {{dcerpc: {{hold: {hold}, callbacks: {CALLBACK}-{CALLBACK}}}}}
"""
        for name, source, hold in (("publish", lab.server.v4, LONG_HOLD), ("shortly", lab.server_stranger.v4, HOLD))
    )


@dataclass
class Site:
    """A client outside, its server inside, and what a test has had them open."""

    gateway: Gateway
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    before: int = 0

    @property
    def known(self) -> str:
        """Where clients find the server."""
        return str(self.gateway.dialled(4))

    @property
    def inside(self) -> str:
        return str(self.gateway.server.v4)

    def listener(self, host: Host, port: int) -> socket.socket:
        with host.inside():
            sock = socket.create_server((str(host.v4), port))
        sock.settimeout(SECONDS)
        return self.stack.enter_context(sock)

    def dial(self, host: Host, at: Port, seconds: float = SECONDS) -> socket.socket:
        with host.inside():
            return self.stack.enter_context(socket.create_connection(at, seconds))

    def connected(self, listener: socket.socket, host: Host, at: Port) -> contextlib.ExitStack:
        """A connection through the gateway that works, as what ends it."""
        near = self.dial(host, at)
        far, _ = listener.accept()
        self.stack.enter_context(far)
        near.sendall(b"through")
        assert far.recv(100) == b"through"
        both = contextlib.ExitStack()
        both.push(near)
        both.push(far)
        return both

    def is_closed(self, host: Host, at: Port) -> bool:
        """Whether nobody is reached there: at an address of ours a stranger may be let in, only to be reset."""
        try:
            sock = self.dial(host, at, SOON_SECONDS)
            return sock.recv(100) == b""
        except OSError:
            return True

    def asks(self, interface: tuple[UUID, int], question: bytes, answer: bytes, by: Host | None = None) -> bytes:
        """What the client hears when it has asked, and the server has answered. by: another client."""
        with self.listener(self.gateway.server, 135) as server, contextlib.ExitStack() as stack:
            near = stack.enter_context(self.dial(by or self.gateway.client, (self.known, 135)))
            far = stack.enter_context(server.accept()[0])
            heard = b""
            for said, reply in ((bind(interface), bound()), (question, answer)):
                near.sendall(said)
                assert far.recv(65535) == said
                far.sendall(reply)
                heard = near.recv(65535)
            return heard

    def maps(self, *towers: bytes, by: Host | None = None) -> bytes:
        return self.asks((EPM, 3), request(3, asks()), response(maps(*towers)), by)

    def told(self, event: str, count: int = 1, **facts: Any) -> list[dict[str, Any]]:
        """The lines of this test, once there are so many."""
        end = time.monotonic() + SECONDS
        while len(found := self.lines(event, **facts)) < count:
            assert time.monotonic() < end, f"{event} {facts}: {found}"
            time.sleep(0.01)
        return found

    def number(self, port: int) -> str:
        """Of the pinhole that was opened there last."""
        return str(self.told("pinhole.opened", listen=f"{self.known}:{port}")[-1]["pinhole"])

    def lines(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        return [line for line in self.gateway.daemon.audit(event, **facts) if line["seq"] > self.before]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with gateways.serving(Role("dnat", _published, hides_server=True), "nft", drain_seconds=0.1) as gateway:
        yield gateway


@pytest.fixture
def site(gateway: Gateway) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(gateway, stack, max((line["seq"] for line in gateway.daemon.audit()), default=0))


def test_an_endpoint_is_there_while_it_is_used_and_some_time_longer(site: Site) -> None:
    """DC34: a connection keeps it open; after the last one it stands for `hold`, and then it is gone."""
    service = site.listener(site.gateway.server, 49160)
    _, client = site.gateway.clients
    # This process may be kept waiting for longer than the endpoint stands. One that stands is reached.
    for attempt in attempts(told="the endpoint is closed whenever its client comes"):
        said = site.maps(tower(at=(site.inside, 49160)), by=client)
        assert socket.inet_aton(site.known) in said and socket.inet_aton(site.inside) not in said
        with contextlib.suppress(OSError):
            near = site.connected(service, client, (site.known, 49160))
            break
        site.told("pinhole.closed", attempt)
    time.sleep(HOLD + 0.3)
    site.connected(service, client, (site.known, 49160)).close()
    number = site.number(49160)
    assert site.lines("pinhole.closed", pinhole=number) == []
    near.close()
    (line,) = site.told("pinhole.closed", pinhole=number)
    assert line["reason"] == "expired" and line["duration_seconds"] > 2 * HOLD
    assert site.is_closed(client, (site.known, 49160))


def test_an_endpoint_that_nobody_comes_to_is_closed_in_time(site: Site) -> None:
    _, client = site.gateway.clients
    site.maps(tower(at=(site.inside, 49161)), by=client)
    (line,) = site.told("pinhole.closed", pinhole=site.number(49161))
    assert line["reason"] in ("never_used", "expired") and line["duration_seconds"] < LONG_HOLD / 2


def test_an_endpoint_is_for_the_client_that_asked(site: Site) -> None:
    """DC33."""
    service = site.listener(site.gateway.server, 49162)
    site.maps(tower(at=(site.inside, 49162)))
    _, stranger = site.gateway.clients
    assert site.is_closed(stranger, (site.known, 49162))
    site.connected(service, site.gateway.client, (site.known, 49162))


def test_answers_that_lie_open_nothing(site: Site) -> None:
    """DC20: another host behind the gateway, its own address, ports below 1024; and SMB is not reached."""
    neighbour = site.gateway.neighbour
    service = site.listener(neighbour, 49163)
    places = [(str(neighbour.v4), 49163), ("127.0.0.1", 49163), (site.inside, 445), (site.inside, 0)]
    site.maps(*[tower(at=at) for at in places])
    for rule in ("dcerpc.elsewhere", "dcerpc.low_port"):
        assert len(site.told("violation", count=2, rule=rule)) == 2
    for _, port in places:
        assert site.lines("pinhole.opened", listen=f"{site.known}:{port}") == []
    for _, port in places[:3]:
        assert site.is_closed(site.gateway.client, (site.known, port))
    service.settimeout(0)
    with pytest.raises(BlockingIOError):
        service.accept()


def test_an_object_is_reached_at_the_port_that_its_server_names_and_its_server_calls_back(site: Site) -> None:
    """DC29, DC30, DC39: the activation goes on as it came, so the public port is the same."""
    service = site.listener(site.gateway.server, 49164)
    callback = site.listener(site.gateway.client, CALLBACK)
    answer = response(activated([f"FILES[{49164}]", f"{site.inside}[49164]"]))
    assert site.is_closed(site.gateway.server, (str(site.gateway.client.v4), CALLBACK))
    assert site.asks((ACTIVATOR, 0), request(4, bytes(60)), answer) == answer
    site.connected(service, site.gateway.client, (site.known, 49164))
    site.connected(callback, site.gateway.server, (str(site.gateway.client.v4), CALLBACK))
    assert site.told("dcerpc.signed_address")[0]["addresses"] == [f"{site.inside}[49164]"]


def test_an_endpoint_of_datagrams_is_reached_by_datagrams(site: Site) -> None:
    """DC40, DC41: it is asked for over UDP as well."""
    sockets = []
    for host, port in ((site.gateway.server, 135), (site.gateway.server, 49165), (site.gateway.client, 0)):
        with host.inside():
            sock = site.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((str(host.v4), port))
        sock.settimeout(SECONDS)
        sockets.append(sock)
    mapper, service, client = sockets
    client.sendto(datagram(0, asks()), (site.known, 135))
    _, source = mapper.recvfrom(65535)
    mapper.sendto(datagram(2, maps(tower(at=(site.inside, 49165), over_udp=True))), source)
    assert socket.inet_aton(site.known) in client.recv(65535)
    client.sendto(b"there", (site.known, 49165))
    data, source = service.recvfrom(65535)
    service.sendto(b"and back", source)
    assert (data, client.recvfrom(65535)) == (b"there", (b"and back", (site.known, 49165)))


def test_nobody_registers_an_endpoint_and_nothing_else_speaks_there(site: Site) -> None:
    """DC3, DC14."""
    server = site.listener(site.gateway.server, 135)
    near = site.dial(site.gateway.client, (site.known, 135))
    far = site.stack.enter_context(server.accept()[0])
    near.sendall(bind())
    far.recv(65535)
    far.sendall(bound())
    near.recv(65535)
    near.sendall(request(0, bytes(60)))
    assert near.recv(65535)[24:28] == b"\x05\0\0\0"
    other = site.dial(site.gateway.client, (site.known, 135))
    nothing = site.stack.enter_context(server.accept()[0])
    other.sendall(b"POST / HTTP/1.1\r\n\r\n")
    nothing.settimeout(SECONDS)
    with contextlib.suppress(ConnectionResetError):
        assert nothing.recv(100) == b""
    far.setblocking(False)
    with pytest.raises(BlockingIOError):
        far.recv(100)
    for rule in ("dcerpc.epm_write", "dcerpc.not_dcerpc"):
        site.told("violation", rule=rule)
