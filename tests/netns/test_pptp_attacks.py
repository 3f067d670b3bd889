"""Scripted ends of PPTP: calls that ordinary programs never make, packets of others, and ends in every way."""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.harness import pptp_messages as pptp
from tests.netns.namespaces import needs_root
from tests.netns.pptp_talk import PORT, SECONDS, Side, Tunnel, called, connection, forge, listening
from tools.lab import Daemon, Lab, gateways, pinhole
from tools.lab.gateways import HIDING, PUBLISHING, ROUTING, Gateway

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SERVERS = 0
"""The id of the server in most calls: the first one of pptpd."""


@dataclass(slots=True)
class Site:
    gateway: Gateway
    listener: socket.socket
    near: Tunnel
    """All GRE of the client."""
    far: Tunnel
    """All GRE of the server."""
    before: int = 0

    @property
    def lab(self) -> Lab:
        return self.gateway.lab

    @property
    def dialled(self) -> IPv4Address:
        """Where the client finds the server."""
        found = self.gateway.dialled(4)
        assert isinstance(found, IPv4Address)
        return found

    @property
    def known(self) -> IPv4Address:
        """By which the server knows the client."""
        return self.lab.gateway.v4 if self.gateway.role.hides_client else self.gateway.client.v4

    @contextlib.contextmanager
    def session(self) -> Iterator[tuple[Side, Side]]:
        with connection(self.gateway.client, self.dialled, self.listener) as sides:
            yield sides

    def passes(self, number: int, known: int, servers: int = SERVERS) -> bool:
        """Whether packets pass both ways."""
        there, back = pptp.gre(servers, b"there", 1), pptp.gre(known, b"back", 2)
        self.near.send(self.dialled, there)
        came = self.far.receive()
        self.far.send(self.known, back)
        returned = self.near.receive()
        assert (came.source, returned.source) == (self.known, self.dialled)
        assert (came.call, returned.call) == (servers, number)
        return (came.payload, returned.payload) == (there[8:], back[8:])

    def told(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        self.gateway.daemon.until(sessions=0, pinholes=0)
        return [
            line
            for line in self.gateway.daemon.audit()[self.before :]
            if line["event"] == event and all(line.get(name) == value for name, value in facts.items())
        ]


@pytest.fixture(scope="module", params=[ROUTING, HIDING, PUBLISHING], ids=lambda role: role.name)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with (
        gateways.serving(request.param, "nft") as gateway,
        listening(gateway.server) as listener,
        Tunnel(gateway.client) as near,
        Tunnel(gateway.server) as far,
    ):
        yield Site(gateway, listener, near, far)


@pytest.fixture
def gate(site: Site) -> Iterator[Site]:
    site.gateway.daemon.until(sessions=0, pinholes=0)
    site.before = len(site.gateway.daemon.audit())
    for tunnel in (site.near, site.far):  # what the test before may have left, if it failed
        while not tunnel.hears_nothing(0):
            tunnel.receive()
    yield site
    assert site.told("engine.failed") == site.told("daemon.failed") == []
    assert site.near.hears_nothing(0) and site.far.hears_nothing(0)


# -- calls -------------------------------------------------------------------------------------------------------------


def test_two_calls_of_one_connection(gate: Site) -> None:
    """PP13: the kernel's helper knows one."""
    with gate.session() as (client, server):
        ids = {number: called(client, server, number, servers) for number, servers in ((5, 0), (6, 128))}
        assert len(set(ids.values())) == 2
        assert (ids == {5: 5, 6: 6}) is not gate.gateway.role.hides_client
        assert gate.passes(5, ids[5], 0) and gate.passes(6, ids[6], 128)
        server.send(pptp.disconnect(0))
        assert client.receive() == pptp.disconnect(0)
        assert gate.passes(6, ids[6], 128)
        gate.near.send(gate.dialled, pptp.gre(0))
        gate.far.send(gate.known, pptp.gre(ids[5]))
        assert gate.far.hears_nothing() and gate.near.hears_nothing(0)
    assert [
        (line["cause"], line["packets_from_client"], line["packets_from_server"]) for line in gate.told("pptp.ended")
    ] == [
        ("disconnected", 1, 1),
        ("control_lost", 2, 2),
    ]


@pytest.mark.parametrize("site", [ROUTING, HIDING], ids=lambda role: role.name, indirect=True, scope="module")
def test_one_client_of_two_servers_at_once(gate: Site) -> None:
    """PP17: both calls have the same ids, and what tells them apart is the server; with NAT, an id of ours is that of
    one of them alone."""
    client, other = gate.gateway.client, gate.gateway.neighbour
    with (
        gate.session() as (near, far),
        listening(other) as listener,
        Tunnel(other) as beyond,
        connection(client, other.v4, listener) as (near_other, far_other),
    ):
        ids = {gate.dialled: called(near, far, 5, SERVERS), other.v4: called(near_other, far_other, 5, SERVERS)}
        tunnels = {gate.dialled: gate.far, other.v4: beyond}
        assert (set(ids.values()) == {5}) is not gate.gateway.role.hides_client

        def pass_with(server: IPv4Address) -> bool:
            """Whether this server and its client hear each other, and nobody else does."""
            gate.near.send(server, pptp.gre(SERVERS, b"there", 1))
            came = tunnels[server].receive()
            tunnels[server].send(gate.known, pptp.gre(ids[server], b"back", 2))
            returned = gate.near.receive()
            assert (came.payload[-5:], came.source, came.call) == (b"there", gate.known, SERVERS)
            assert (returned.payload[-4:], returned.source, returned.call) == (b"back", server, 5)
            return all(tunnel.hears_nothing(0.05) for tunnel in (*tunnels.values(), gate.near))

        assert all(pass_with(server) for server in ids)
        if len(set(ids.values())) == 2:
            beyond.send(gate.known, pptp.gre(ids[gate.dialled]))
            gate.far.send(gate.known, pptp.gre(ids[other.v4]))
            assert gate.near.hears_nothing()
        far.send(pptp.disconnect(SERVERS))
        assert near.receive() == pptp.disconnect(SERVERS)
        gate.near.send(gate.dialled, pptp.gre(SERVERS))
        gate.far.send(gate.known, pptp.gre(ids[gate.dialled]))
        assert gate.far.hears_nothing() and gate.near.hears_nothing(0)
        assert pass_with(other.v4)
    assert {(line["cause"], line["packets_from_client"]) for line in gate.told("pptp.ended")} == {
        ("disconnected", 1),
        ("control_lost", 2),
    }


def test_a_call_that_the_server_asks_for(gate: Site) -> None:
    """PP11: the ids stand in other messages, and the tunnel stands before 11."""
    with gate.session() as (client, server):
        server.send(pptp.incoming_request(7))
        assert client.receive() == pptp.incoming_request(7)
        client.send(pptp.incoming_reply(9, 7))
        reply = server.receive()
        known = int.from_bytes(reply[12:14], "big")
        assert reply == pptp.incoming_reply(known, 7)
        server.send(pptp.incoming_connected(known))
        assert client.receive() == pptp.incoming_connected(9)
        assert gate.passes(9, known, 7)
        client.send(pptp.clear(9))
        assert server.receive() == pptp.clear(known)
        server.send(pptp.disconnect(7))
        assert client.receive() == pptp.disconnect(7)
    assert gate.told("pptp.call")[0]["direction"] == "incoming"


def test_what_the_server_sends_before_its_own_reply_is_not_lost(gate: Site) -> None:
    """PP19: nobody can tell in which order two sockets are read."""
    with gate.session() as (client, server):
        client.send(pptp.outgoing_request(5))
        known = int.from_bytes(server.receive()[12:14], "big")
        gate.far.send(gate.known, pptp.gre(known, b"early"))
        assert gate.near.hears_nothing()
        server.send(pptp.outgoing_reply(SERVERS, known))
        assert client.receive() == pptp.outgoing_reply(SERVERS, 5)
        assert gate.near.receive().payload == b"early"
        assert gate.passes(5, known)


def test_a_call_that_is_refused_leaves_no_way(gate: Site) -> None:
    with gate.session() as (client, server):
        client.send(pptp.outgoing_request(5))
        known = int.from_bytes(server.receive()[12:14], "big")
        server.send(pptp.outgoing_reply(SERVERS, known, result=4))
        assert client.receive() == pptp.outgoing_reply(SERVERS, 5, result=4)
        gate.far.send(gate.known, pptp.gre(known))
        assert gate.near.hears_nothing()


def test_what_a_browser_is_made_to_send_opens_nothing(gate: Site) -> None:
    """NAT slipstreaming: a whole conversation in the body of a request, and a server that plays its part."""
    body = pptp.start_request() + pptp.outgoing_request(5)
    with gate.gateway.client.inside():
        near = socket.create_connection((str(gate.dialled), PORT), SECONDS)
    far, _ = gate.listener.accept()
    far.settimeout(SECONDS)
    with near, far:
        far.sendall(pptp.start_reply() + pptp.outgoing_reply(SERVERS, 5))
        near.sendall(b"POST / HTTP/1.1\r\nContent-Length: 324\r\n\r\n" + body)
        assert Side(far).is_over()
    assert gate.told("violation", rule="pptp.malformed") and gate.told("pinhole.opened") == []


def test_a_rogue_server_opens_a_few_calls_and_no_more(gate: Site) -> None:
    with gate.session() as (client, server):
        for number in range(20):
            server.send(pptp.incoming_request(number))
        asked = [client.receive() for _ in range(8)]
        refused = [server.receive() for _ in range(12)]
        assert asked == [pptp.incoming_request(number) for number in range(8)]
        assert [message[14:18] for message in refused] == [
            pptp.incoming_reply(0, n, 2)[14:16] + b"\2\4" for n in range(8, 20)
        ]
    assert len(gate.told("pinhole.opened")) == 8


# -- packets -----------------------------------------------------------------------------------------------------------


def test_long_packets_their_traffic_class_and_those_that_only_acknowledge(gate: Site) -> None:
    """PP4, PP15, PP18."""
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        payload = bytes(range(250)) * 16
        for traffic_class in (0xB8, 0, 0x28):
            gate.near.send(gate.dialled, pptp.gre(SERVERS, payload, 1), traffic_class)
            gate.far.send(gate.known, pptp.gre(known, payload, 1), traffic_class)
            came, returned = gate.far.receive(), gate.near.receive()
            assert came.payload[4:] == returned.payload[4:] == payload
            assert came.traffic_class == returned.traffic_class == traffic_class
        gate.near.send(gate.dialled, struct.pack("!HHHHI", 0x2081, 0x880B, 0, SERVERS, 99))
        assert gate.far.receive().payload == struct.pack("!I", 99)


def test_packets_pass_once_and_go_round_nowhere(gate: Site) -> None:
    """PP5: with our mark on these sockets fifty packets become a hundred thousand."""
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        for number in range(50):
            gate.near.send(gate.dialled, pptp.gre(SERVERS, b"", number))
            gate.far.send(gate.known, pptp.gre(known, b"", number))
        for tunnel in (gate.far, gate.near):
            assert [int.from_bytes(tunnel.receive().payload, "big") for _ in range(50)] == list(range(50))
            assert tunnel.hears_nothing()
    (ended,) = gate.told("pptp.ended")
    assert (ended["packets_from_client"], ended["packets_from_server"]) == (50, 50)


def test_the_right_host_with_a_wrong_id(gate: Site) -> None:
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS + 9)
        for number in {0, 1, 6, 65535} - {known}:
            gate.far.send(gate.known, pptp.gre(number))
            gate.near.send(gate.dialled, pptp.gre(number))
        assert gate.near.hears_nothing() and gate.far.hears_nothing(0)
        assert gate.passes(5, known, SERVERS + 9)
    assert [line["rule"] for line in gate.told("violation")] == ["pinhole.stranger"] * 2
    assert all(line["packets_refused"] >= 3 for line in gate.told("pinhole.closed"))


def test_a_stranger_with_the_right_id(gate: Site) -> None:
    """Hosts beside the server and beside the client, with all that the ends know."""
    lab = gate.lab
    beside_server = lab.client_stranger if gate.gateway.role.hides_server else lab.server_stranger
    beside_client = lab.server_stranger if gate.gateway.role.hides_server else lab.client_stranger
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        for host, to, number in ((beside_server, gate.known, known), (beside_client, gate.dialled, SERVERS)):
            with Tunnel(host) as stranger:
                for _ in range(100):
                    stranger.send(to, pptp.gre(number))
        assert gate.near.hears_nothing() and gate.far.hears_nothing(0)
        assert gate.passes(5, known)
    refused = [line["packets_refused"] for line in gate.told("pinhole.closed")]
    # No rule brings what a host inside sends that is not the published server.
    assert refused == [0, 100] if gate.gateway.role.hides_server else [100, 100]
    assert len(gate.told("violation", rule="pinhole.stranger")) <= 2  # as many as places, and not as many as packets


def test_a_forger_on_the_wrong_side(gate: Site) -> None:
    """It bears the address of an end, and comes by the other end's interface."""
    lab, gateway = gate.lab, gate.gateway
    for interface in ("all", "lan0", "wan0"):
        lab.gateway.sysctl(f"ipv4.conf.{interface}.rp_filter", 0)
    inside, outside = (lab.client_stranger, "lan0"), (lab.server_stranger, "wan0")
    beside_client, beside_server = (outside, inside) if gateway.role.hides_server else (inside, outside)
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        for (host, port), source, to, number in (
            (beside_client, gateway.server.v4, gate.known, known),
            (beside_server, gateway.client.v4, gate.dialled, SERVERS),
        ):
            if to != lab.gateway.v4:  # a neighbour would be reached past the gateway
                host.run(["ip", "route", "replace", f"{to}/32", "via", str(lab.gateway.address(4, port))])
            forge(host, source, to, pptp.gre(number))
            host.run(["ip", "route", "flush", f"{to}/32"])
        assert gate.near.hears_nothing() and gate.far.hears_nothing(0)
        assert gate.passes(5, known)
    assert {line["rule"] for line in gate.told("violation")} <= {"pinhole.spoofed", "pinhole.stranger"}
    assert gate.told("violation", rule="pinhole.spoofed")


def test_garbage_of_the_right_host(gate: Site) -> None:
    """PP15: other versions, other protocols, bits that must be 0, and packets that end within their header."""
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        good = pptp.gre(known, b"x" * 8)
        wrong = [good[:7], good[:3], pptp.gre(known, flags=0x2000), pptp.gre(known, protocol=0x0800)]
        wrong += [pptp.gre(known, flags=0x2001 | bit) for bit in (0x8000, 0x4000, 0x0800, 0x0100, 0x0008)]
        for data in (*wrong, pptp.gre(known, flags=0x0001)):
            gate.far.send(gate.known, data)
        assert gate.near.hears_nothing()
        assert gate.passes(5, known)


# -- ends --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["client_ends", "server_resets", "stop", "not_pptp"])
def test_no_packet_passes_once_the_control_connection_is_over(gate: Site, how: str) -> None:
    """PP14."""
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        assert gate.passes(5, known)
        match how:
            case "client_ends":
                client.sock.shutdown(socket.SHUT_WR)
                assert server.is_over()
            case "server_resets":
                server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                server.close()
                assert client.is_over()
            case "stop":
                server.send(pptp.stop_request())
                assert client.receive() == pptp.stop_request()
            case "not_pptp":
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                assert server.is_over()
        gate.near.send(gate.dialled, pptp.gre(SERVERS))
        gate.far.send(gate.known, pptp.gre(known))
        assert gate.far.hears_nothing() and gate.near.hears_nothing(0)
    (ended,) = gate.told("pptp.ended")
    assert (ended["packets_from_client"], ended["packets_from_server"]) == (1, 1)
    assert ended["cause"] == {"stop": "stopped", "not_pptp": "malformed"}.get(how, "control_lost")


def test_an_operator_closes_a_tunnel_and_both_ends_are_told(gate: Site) -> None:
    with gate.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        daemon = gate.gateway.daemon
        (place, _) = daemon.ask("pinholes")["pinholes"]
        assert place["transport"] == "gre"
        daemon.command("close", place["id"], "-c", str(daemon.config))
        assert client.receive()[8:14] == pptp.disconnect(SERVERS)[8:14]
        assert server.receive() == pptp.clear(known)
    assert gate.told("pptp.ended")[0]["cause"] == "closed_by_operator"


def test_nothing_passes_of_a_tunnel_once_the_daemon_is_killed(site: Site) -> None:
    """The last test of each site."""
    with site.session() as (client, server):
        known = called(client, server, 5, SERVERS)
        assert site.passes(5, known)
        site.gateway.daemon.signal(signal.SIGKILL)
        site.gateway.daemon.wait()
        site.near.send(site.dialled, pptp.gre(SERVERS))
        site.far.send(site.known, pptp.gre(known))
        assert site.far.hears_nothing() and site.near.hears_nothing(0)


# -- other configurations ----------------------------------------------------------------------------------------------

Routed = tuple[Lab, Daemon, Tunnel, Tunnel]


def accepting(options: str, more: str = "") -> str:
    """A policy with these options."""
    return f"{{name: out, from: [lan0], action: accept, options: {{pptp: {options}}}{more}}}"


@contextlib.contextmanager
def routed(*policies: str) -> Iterator[Routed]:
    """A gateway that forwards all, with these policies."""
    with Lab("routed") as lab:
        text = f"policies: [{', '.join(policies)}]"
        with pinhole(lab, text, unprivileged=True) as daemon, Tunnel(lab.client) as near, Tunnel(lab.server) as far:
            yield lab, daemon, near, far


@pytest.fixture(scope="module")
def impatient() -> Iterator[Routed]:
    with routed(accepting("{idle: 2}")) as made:
        yield made


def test_gre_that_is_no_tunnel_of_pptp_passes_by_and_that_of_no_call_does_not(impatient: Routed) -> None:
    """PP2, PP3: and the rule has counted it."""
    lab, _, near, far = impatient

    def counted() -> int:
        chain = lab.gateway.run(["nft", "list", "chain", "inet", "pinhole", "tunnels"]).stdout
        return sum(map(int, re.findall(r"counter packets (\d+) ", chain)))

    before = counted()
    for data in (pptp.gre(1, flags=0x2000, protocol=0x0800), pptp.gre(1, flags=0x2001, protocol=0x0800)):
        near.send(lab.server.v4, data)
        assert far.receive().call == 1
        far.send(lab.client.v4, data)
        assert near.receive().call == 1
    assert counted() == before
    near.send(lab.server.v4, pptp.gre(1))
    far.send(lab.client.v4, pptp.gre(1))
    assert far.hears_nothing() and near.hears_nothing(0)
    assert counted() == before + 2


def test_the_rule_is_the_same_once_it_was_listed_and_loaded_again(impatient: Routed) -> None:
    """PP2: nft must not lose the protocol, or TCP and UDP would be taken."""
    lab, daemon, *_ = impatient

    def listed() -> str:
        return lab.gateway.run(["nft", "--stateless", "list", "table", "inet", "pinhole"]).stdout

    before = listed()
    lab.gateway.run(["nft", "-f", "-"], stdin=f"delete table inet pinhole\n{before}")
    assert listed() == before
    (rule,) = (line for line in before.splitlines() if "@th,0,32" in line)
    assert "ip protocol gre" in rule or "ip protocol 47" in rule
    daemon.net_up()


def test_a_silent_tunnel_is_closed_and_both_ends_are_told(impatient: Routed) -> None:
    """PP22."""
    lab, daemon, near, far = impatient
    with listening(lab.server) as listener, connection(lab.client, lab.server.v4, listener) as (client, server):
        client.send(pptp.outgoing_request(5))
        assert server.receive() == pptp.outgoing_request(5)
        far.send(lab.client.v4, pptp.gre(5))  # before the reply, so that the tunnel is used as soon as it stands (PP19)
        server.send(pptp.outgoing_reply(SERVERS, 5))
        assert client.receive() == pptp.outgoing_reply(SERVERS, 5)
        near.receive()
        assert client.receive()[8:14] == pptp.disconnect(SERVERS)[8:14]
        assert server.receive() == pptp.clear(5)
        assert client.is_over() and server.is_over()
    assert daemon.wait_for("pptp.ended")["cause"] == "idle"
    assert daemon.wait_for("session.closed")["reason"] == "idle"


def test_a_call_whose_tunnel_nobody_uses_is_closed_in_the_same_time(impatient: Routed) -> None:
    """PP22: ends that have gone without a word leave nothing open."""
    lab, daemon, *_ = impatient
    before = len(daemon.audit("pptp.ended"))
    with listening(lab.server) as listener, connection(lab.client, lab.server.v4, listener) as (client, server):
        called(client, server, 5, SERVERS)
        assert client.receive()[8:14] == pptp.disconnect(SERVERS)[8:14]
        assert server.receive() == pptp.clear(5)
    assert daemon.wait_for("pptp.ended", count=before + 1)["cause"] == "never_used"


def test_over_ipv6_the_connection_passes_and_no_tunnel_is_followed(impatient: Routed) -> None:
    """PP8."""
    lab, daemon, *_ = impatient
    before = len(daemon.audit("pinhole.opened"))
    with (
        listening(lab.server, lab.server.v6) as listener,
        connection(lab.client, lab.server.v6, listener) as (client, server),
    ):
        assert called(client, server, 5, SERVERS) == 5
    assert daemon.wait_for("pptp.unfollowed")["reason"] == "ipv6"
    assert len(daemon.audit("pinhole.opened")) == before


@pytest.mark.parametrize("options", ["{tunnel: ignore}", "{mode: off}"])
def test_a_tunnel_that_is_not_followed_passes_as_the_firewall_says(options: str) -> None:
    """So it is the helper that carries it where it follows."""
    with (
        routed(accepting(options)) as (lab, daemon, near, far),
        listening(lab.server) as listener,
        connection(lab.client, lab.server.v4, listener) as (client, server),
    ):
        assert called(client, server, 5, SERVERS) == 5
        near.send(lab.server.v4, pptp.gre(SERVERS))
        assert far.receive().source == lab.client.v4
        daemon.lock_down()
        near.send(lab.server.v4, pptp.gre(SERVERS))
        assert far.hears_nothing()


def test_tunnels_to_a_server_that_an_earlier_policy_names_pass_by_and_others_do_not() -> None:
    """Who has no session with us is judged by hosts alone, in the order of the policies."""
    with Lab("routed") as lab:
        own_way = accepting("{tunnel: ignore}", f", destination: {lab.server.v4}/32").replace("out", "own", 1)
        text = f"policies: [{own_way}, {accepting('{}')}]"
        with (
            pinhole(lab, text, unprivileged=True),
            Tunnel(lab.client) as near,
            Tunnel(lab.server) as far,
            Tunnel(lab.server_stranger) as other,
        ):
            near.send(lab.server.v4, pptp.gre(1))
            far.send(lab.client.v4, pptp.gre(2))
            assert (far.receive().call, near.receive().call) == (1, 2)
            near.send(lab.server_stranger.v4, pptp.gre(1))
            other.send(lab.client.v4, pptp.gre(2))
            assert other.hears_nothing() and near.hears_nothing(0)


def test_a_tunnel_that_stands_goes_on_where_its_policy_has_come_to_deny() -> None:
    """Nobody need change rules for that, and a reload says so."""
    with (
        routed(accepting("{}")) as (lab, daemon, near, far),
        listening(lab.server) as listener,
        connection(lab.client, lab.server.v4, listener) as (client, server),
    ):
        called(client, server, 5, SERVERS)
        daemon.write_config("policies: [{name: none, from: [lan0], action: deny}]")
        answer = daemon.command("reload", "-c", str(daemon.config))
        assert "pinhole net up" in answer.stdout + answer.stderr
        near.send(lab.server.v4, pptp.gre(SERVERS))
        far.send(lab.client.v4, pptp.gre(5))
        assert (far.receive().call, near.receive().call) == (SERVERS, 5)
        near.send(lab.server.v4, pptp.gre(SERVERS + 1))
        assert far.hears_nothing()
        with lab.client.inside(), socket.socket() as late:
            late.settimeout(SECONDS)
            # It is reset once it stands, which may be before the client knows that it stands.
            assert late.connect_ex((str(lab.server.v4), PORT)) == errno.ECONNRESET or Side(late).is_over()
