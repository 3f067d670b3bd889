"""A pinhole on a host's own address and port is there for those alone whom it allows. Everybody else's connections to
that port pass the gateway as if it were not there: those that stood before, those that begin meanwhile, and those that
come after it. Without NAT; the gateway forwards everything (rules X10, X11, X33)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pytest

from tests.netns.connections import read_all
from tests.netns.ftp_talk import Served, Talk, dial, plain_server, server, serving
from tests.netns.namespaces import needs_root
from tests.netns.tns_talk import calling, listening, passes, read_connect, redirected, to
from tools.lab import Daemon, Host, Lab, pinhole
from tools.peers.tns_packets import accept

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

PORT = 30021
POLICY = "policies: [{name: lan-out, from: [lan0], action: accept, snat: none"
NODAD: dict[int, tuple[str, ...]] = {4: (), 6: ("nodad", "preferred_lft", "0")}
"""The second keeps an address from being chosen where none is asked for."""
ALIASES = {4: ("10.1.0.9", "10.1.0.17"), 6: ("fd01::9", "fd01::11")}
"""Further addresses of `client_stranger`: one that the networks of a test may hold, and one that they do not."""


@dataclass
class Site:
    lab: Lab
    daemon: Daemon
    version: int
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def address(self, host: Host) -> str:
        return str(host.address(self.version))

    def talk(self, host: Host) -> Talk:
        return self.stack.enter_context(Talk(host, self.address(self.lab.server)))

    def through(self, service: socket.socket, host: Host, source: str = "") -> Connection:
        """A connection to the service of another host, both ends of which work."""
        where = service.getsockname()
        near = self.stack.enter_context(dial(host, where[0], where[1], source))
        far = self.stack.enter_context(service.accept()[0])
        connection = Connection(near, far)
        assert connection.works()
        return connection

    def used(self, count: int) -> bool:
        """So many connections came through pinholes, and no more: the log is written in order."""
        if count:
            self.daemon.wait_for("pinhole.used", count)
        return len(self.daemon.audit("pinhole.used")) == count


@dataclass
class Connection:
    near: socket.socket
    far: socket.socket

    def works(self) -> bool:
        return passes(self.near, self.far)


@contextlib.contextmanager
def site(version: int, backend: Literal["nft", "iptables"] = "nft", options: str = "") -> Iterator[Site]:
    text = f"{POLICY}, options: {{ftp: {{{options}}}}}}}]"
    with (
        Lab("routed") as lab,
        pinhole(lab, text, backend, unprivileged=True) as daemon,
        contextlib.ExitStack() as stack,
    ):
        length = 24 if version == 4 else 64
        for alias in ALIASES[version]:
            lab.client_stranger.run(["ip", "address", "add", f"{alias}/{length}", "dev", "eth0", *NODAD[version]])
        yield Site(lab, daemon, version, stack)


def announcing(served: Served, line: bytes) -> bytes | None:
    """A server with one passive port for everybody."""
    return b"229 ok (|||%d|)\r\n" % PORT if line.startswith(b"EPSV") else plain_server(served, line)


@pytest.mark.parametrize("backend", ["nft", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_at_a_passive_port_a_bystander_passes_before_during_and_after(
    version: int, backend: Literal["nft", "iptables"]
) -> None:
    with site(version, backend) as gate, serving(gate.lab.server, PORT, version) as service:
        bystander = gate.lab.client_stranger
        with server(gate.lab.server, announcing, version=version):
            before = gate.through(service, bystander)
            talk = gate.talk(gate.lab.client)
            assert talk.ask("EPSV").startswith("229")
            during = [gate.through(service, bystander) for _ in range(3)]
            assert before.works()
            assert gate.used(0)
            own = gate.through(service, gate.lab.client)
            assert gate.used(1)
            after = gate.through(service, bystander)
            talk.close()
            after_the_session = gate.through(service, bystander)
            for connection in (before, *during, own, after, after_the_session):
                assert connection.works()
            assert gate.used(1)
    assert gate.daemon.audit("violation") == []


@pytest.mark.parametrize("backend", ["nft", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_at_an_active_port_a_bystander_passes_before_during_and_after(
    version: int, backend: Literal["nft", "iptables"]
) -> None:
    """Whether its pinhole is not confirmed yet, confirmed or used: it is there for the server alone."""
    with site(version, backend) as gate, serving(gate.lab.client, PORT, version) as service:
        bystander = gate.lab.server_stranger
        asked: list[Connection] = []

        def script(served: Served, line: bytes) -> bytes | None:
            if line.startswith(b"EPRT"):
                asked.append(gate.through(service, bystander))
            return plain_server(served, line)

        with server(gate.lab.server, script, version=version):
            before = gate.through(service, bystander)
            talk = gate.talk(gate.lab.client)
            family = 1 if version == 4 else 2
            assert talk.ask(f"EPRT |{family}|{gate.address(gate.lab.client)}|{PORT}|").startswith("200")
            during = gate.through(service, bystander)
            assert gate.used(0)
            own = gate.through(service, gate.lab.server)
            assert gate.used(1)
            after = gate.through(service, bystander)
            for connection in (before, *asked, during, own, after):
                assert connection.works()
    assert gate.daemon.audit("violation") == []


@pytest.mark.parametrize("version", [4, 6])
def test_at_the_default_data_port_a_bystander_passes(version: int) -> None:
    """It is the port of our own connection to the server, on the client's address: who knows what else is there."""
    with site(version) as gate, server(gate.lab.server, announcing, version=version) as heard:
        talk = gate.talk(gate.lab.client)
        talk.send(b"LIST\r\n")
        port = int(gate.daemon.wait_for("pinhole.opened")["listen"].rpartition(":")[2])
        assert heard
        with serving(gate.lab.client, port, version) as service:
            assert gate.through(service, gate.lab.server_stranger).works()


@pytest.mark.parametrize("version", [4, 6])
def test_several_pinholes_at_one_place_let_pass_whom_none_of_them_allows(version: int) -> None:
    """One joins, one is used, one leaves: the list is that of the moment."""
    with site(version) as gate, serving(gate.lab.server, PORT, version) as service:
        one, other = gate.lab.client, gate.lab.client_stranger
        _, third = ALIASES[version]
        with server(gate.lab.server, announcing, version=version):
            first, second = gate.talk(one), gate.talk(other)
            assert first.ask("EPSV").startswith("229")
            assert gate.through(service, other).works() and gate.used(0)
            assert second.ask("EPSV").startswith("229")
            assert gate.through(service, other, third).works() and gate.used(0)
            mine = gate.through(service, one)
            assert gate.used(1)
            assert gate.through(service, one).works() and gate.used(1)  # its pinhole is used up
            assert gate.through(service, other, third).works() and gate.used(1)
            theirs = gate.through(service, other)
            assert gate.used(2)
            assert gate.through(service, other).works() and gate.used(2)
            assert mine.works() and theirs.works()
    assert gate.daemon.audit("violation") == []


@pytest.mark.parametrize("version", [4, 6])
def test_networks_are_compared_by_their_prefix(version: int) -> None:
    """A server farm, or a client that dials from another address of its network."""
    inside, outside = ALIASES[version]
    network = "10.1.0.8/29" if version == 4 else "fd01::8/125"
    with (
        site(version, options=f'third_party: ["{network}"]') as gate,
        serving(gate.lab.server, PORT, version) as service,
        server(gate.lab.server, announcing, version=version),
    ):
        talk = gate.talk(gate.lab.client)
        assert talk.ask("EPSV").startswith("229")
        assert gate.through(service, gate.lab.client_stranger, outside).works()
        assert gate.used(0)
        assert gate.through(service, gate.lab.client_stranger, inside).works()
        assert gate.used(1)


@pytest.mark.parametrize("backend", ["nft", "iptables"])
@pytest.mark.parametrize("version", [4, 6])
def test_a_redirect_to_a_neighbour_leaves_everybody_else_who_goes_there_alone(
    backend: Literal["nft", "iptables"], version: int
) -> None:
    """A hostile listener names a service of its neighbour."""
    with site(version, backend) as gate, serving(gate.lab.server_stranger, 8080, version) as web:
        other, listener = gate.lab.client_stranger, (gate.address(gate.lab.server), 1521)
        before = gate.through(web, other)
        with (
            listening(gate.lab.server, to(gate.address(gate.lab.server_stranger), 8080), version=version),
            calling(gate.lab.client, listener) as client,
        ):
            where = redirected(client)
            during = [gate.through(web, other) for _ in range(3)]
            assert before.works() and gate.used(0)
            with calling(gate.lab.client, where) as right, web.accept()[0] as reached:
                read_connect(reached)
                reached.sendall(accept())
                read_all(right, len(accept()))
                after = gate.through(web, other)
                assert passes(right, reached) and gate.used(1)
                assert all(connection.works() for connection in (before, *during, after))
        assert gate.daemon.audit("violation") == []
