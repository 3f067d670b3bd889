"""Attacks on the TNS helper, each really tried through a locked-down gateway (rules X10, X11, X12, X13, T4, T5, T14,
T18, T23, T24): by a listener that sends its clients where they must not go, and by clients that want more than one
connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tests.netns.connections import read_all
from tests.netns.ftp_talk import dial, fate, open_ports
from tests.netns.namespaces import needs_root
from tests.netns.tns_site import Site, site
from tests.netns.tns_talk import (
    Listener,
    calling,
    ending,
    listening,
    passes,
    read_packet,
    redirected,
    refused,
    to,
)
from tools.lab import Lab, pinhole
from tools.peers.tns_packets import (
    accept,
    address,
    connect,
    data,
    packet,
    with_length_zero,
    with_length_zero_and_redirect,
)

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ANYWHERE = 'redirect_to: ["0.0.0.0/0", "::/0", localhost]'


@pytest.fixture(scope="module", params=["none", "interface"])
def usual(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(request.param) as usual:
        yield usual


@pytest.fixture
def gate(usual: Site) -> Iterator[Site]:
    with usual.one_test() as gate:
        yield gate


@pytest.fixture(scope="module")
def anywhere() -> Iterator[Site]:
    """Its policy lets a listener send its clients to any address."""
    with site(options=ANYWHERE) as anywhere:
        yield anywhere


@pytest.fixture
def lax(anywhere: Site) -> Iterator[Site]:
    with anywhere.one_test() as gate:
        yield gate


@pytest.fixture(scope="module")
def publishing() -> Iterator[Site]:
    """The listener is inside, published; what it may name is anything."""
    with Lab("nat") as lab:
        outside = lab.gateway.address(4, "wan0")
        policy = (
            f'{{name: publish, from: [wan0], destination: ["{outside}"], action: accept, dnat: "{lab.client.v4}", '
            f"options: {{tns: {{{ANYWHERE}}}}}}}"
        )
        with pinhole(lab, f"policies: [{policy}]\nports: 40000-40099", unprivileged=True) as daemon:
            daemon.lock_down()
            gate = Site(lab, daemon)
            gate.client, gate.server, gate.listener_at = lab.server, lab.client, (str(outside), 1521)
            yield gate


@pytest.fixture
def published(publishing: Site) -> Iterator[Site]:
    with publishing.one_test() as gate:
        yield gate


def is_refused(gate: Site, answer: bytes, why: str, rule: str = "tns.redirect_elsewhere") -> None:
    """A redirect of which the client hears that it was not followed, and why; the log says so too."""
    with listening(gate.server, answer) as listener, gate.calling() as client:
        assert why in refused(client)
        listener.take()
    assert gate.violations() == [rule]
    assert [line["error"] for line in gate.told("tns.refused")] == [12564]
    assert gate.reasons() == ["redirect_refused"]
    gate.nothing_was_opened()


# -- where a listener must not send its clients ------------------------------------------------------------------------


def test_a_redirect_to_a_third_host_is_refused_and_that_host_is_left_alone(gate: Site) -> None:
    inside = gate.lab.client_stranger
    with listening(inside, None, 8080) as third:
        is_refused(gate, to(inside.v4, 8080), "10.1.0.3:8080 the policy does not name it")
        assert not third.was_reached


def test_a_redirect_to_a_host_far_away_is_refused(gate: Site) -> None:
    is_refused(gate, to("203.0.113.9", 1521), "203.0.113.9:1521 the policy does not name it")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "0.0.0.0", "169.254.169.254", "224.0.0.5"])
def test_a_redirect_to_loopback_and_the_like_is_refused_whatever_the_policy_says(lax: Site, host: str) -> None:
    is_refused(lax, to(host, 8080), f"{host}:8080 no address of a server")


def test_a_redirect_to_a_name_that_nobody_knows_is_refused(gate: Site) -> None:
    is_refused(gate, to("db1.invalid", 1521), "db1.invalid:1521 the name has no address")


@pytest.mark.parametrize("port", [8443, 1521])
def test_a_redirect_to_the_gateway_is_refused_and_its_services_are_left_alone(gate: Site, port: int) -> None:
    """Outside, where it is the listener's neighbour."""
    own = gate.own("wan0")
    with service(gate, own, port) as reached:
        is_refused(gate, to(own, port), f"{own}:{port} target_is_gateway")
        assert not reached()
    assert [line["reason"] for line in gate.told("pinhole.refused")] == ["target_is_gateway"]


@pytest.mark.parametrize("interface", ["lan0", "wan0"])
def test_a_redirect_to_the_gateway_is_refused_whatever_the_policy_says(lax: Site, interface: str) -> None:
    own = lax.own(interface)
    with service(lax, own, 8443) as reached:
        is_refused(lax, to(own, 8443), "target_is_gateway")
        assert not reached()


@pytest.mark.parametrize("interface", ["lan0", "wan0"])
def test_a_published_listener_cannot_send_its_clients_to_the_gateway(published: Site, interface: str) -> None:
    """Not to the address either at which it is published."""
    own = published.own(interface)
    with service(published, own, 8443) as reached:
        is_refused(published, to(own, 8443), "target_is_gateway")
        assert not reached()


def test_a_redirect_to_the_gateway_is_refused_over_ipv6_too(gate: Site) -> None:
    own = gate.own("wan0", 6)
    at = (str(gate.server.v6), 1521)
    with listening(gate.server, to(own, 8443), version=6), calling(gate.client, at) as client:
        assert "target_is_gateway" in refused(client)
    gate.nothing_was_opened()


@contextlib.contextmanager
def service(gate: Site, host: IPv4Address | IPv6Address, port: int) -> Iterator[Any]:
    """Of the gateway itself; yields whether somebody has come."""
    with gate.lab.gateway.inside():
        listener = socket.create_server((str(host), port))

    def was_reached() -> bool:
        listener.setblocking(False)
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    with listener:
        yield was_reached


@pytest.mark.parametrize("port", [22, 1023])
def test_a_redirect_to_a_low_port_is_refused(gate: Site, port: int) -> None:
    with listening(gate.server, None, port) as low:
        is_refused(gate, to(gate.server.v4, port), f":{port} the port is below 1024")
        assert not low.was_reached


def test_the_first_port_that_is_not_low_is_opened(gate: Site) -> None:
    with (
        listening(gate.server, to(gate.server.v4, 1024)),
        listening(gate.server, accept(), 1024) as second,
        gate.calling() as client,
        calling(gate.client, redirected(client)) as again,
    ):
        read_all(again, len(accept()))
        assert passes(again, second.take())


# -- loops -------------------------------------------------------------------------------------------------------------


def test_a_redirect_to_the_listener_itself_is_refused(gate: Site) -> None:
    is_refused(gate, to(gate.server.v4, 1521), ":1521 it has been there")


def test_two_listeners_that_send_a_client_to_each_other_are_found_out(gate: Site) -> None:
    with (
        listening(gate.server, to(gate.server.v4, 2001)) as first,
        listening(gate.server, to(gate.server.v4, 1521), 2001),
        gate.calling() as client,
        calling(gate.client, redirected(client)) as again,
    ):
        assert "it has been there" in refused(again)
        assert len(first.connects) == 1
    assert gate.violations() == ["tns.redirect_elsewhere"]
    assert len(gate.told("pinhole.opened")) == 1


def test_a_client_is_sent_on_three_times_and_no_more(gate: Site) -> None:
    ports = [1521, 2001, 2002, 2003, 2004]
    with contextlib.ExitStack() as stack:
        for port, following in zip(ports, [*ports[1:], 2005], strict=True):
            last = stack.enter_context(listening(gate.server, to(gate.server.v4, following), port))
        where = gate.listener_at
        for _ in range(3):
            where = redirected(stack.enter_context(calling(gate.client, where)))
        with calling(gate.client, where) as client:
            assert "more than 3 redirects" in refused(client)
        assert not last.was_reached
    assert gate.violations() == ["tns.too_many_hops"]
    assert [line["hop"] for line in gate.told("tns.redirected")] == [1, 2, 3]


# -- redirects that are none -------------------------------------------------------------------------------------------

PIECE = data(b"(" * 20_000)
HUGE = {
    "announced": packet(5, (60_000).to_bytes(2, "big")),
    "in the packet": packet(5, (60_000).to_bytes(2, "big") + b"(" * 60_000),
    "without a length": packet(5, b"\0\0") + data(b"(" * 60_000),
    "more than announced": packet(5, (8000).to_bytes(2, "big")) + PIECE,
    "in pieces without end": packet(5, (8000).to_bytes(2, "big")) + data(b"") * 1000,
}


@pytest.mark.parametrize("beginning", HUGE.values(), ids=HUGE.keys())
def test_three_megabytes_of_redirect_text_end_the_session(gate: Site, beginning: bytes) -> None:
    with listening(gate.server, beginning) as listener, gate.calling() as client:
        sent = len(beginning)
        with contextlib.suppress(OSError):  # it is cut off somewhere in the midst
            served = listener.take()
            while sent < 3_000_000:
                served.sendall(PIECE)
                sent += len(PIECE)
        assert "what came makes no sense" in refused(client)
    assert gate.violations() == ["tns.malformed"]
    (closed,) = gate.told("session.closed")
    assert closed["reason"] == "malformed"
    assert closed["bytes_from_server"] < 200_000
    gate.nothing_was_opened()


@pytest.mark.parametrize("form", [with_length_zero, with_length_zero_and_redirect])
def test_a_redirect_of_length_zero_is_followed(gate: Site, form: Any) -> None:
    with (
        listening(gate.server, form(address(str(gate.server.v4), 21522))),
        listening(gate.server, accept(), 21522) as second,
        gate.calling() as client,
    ):
        read_packet(client)
        assert address(str(gate.server.v4), 21522) in read_packet(client)
        with calling(gate.client, (str(gate.server.v4), 21522)) as again:
            read_all(again, len(accept()))
            assert passes(again, second.take())


@pytest.mark.parametrize(
    "answer",
    [packet(5, b"\0\0") + data(b""), packet(5, b"\0\0") + packet(5, b"\0\0"), packet(5, b"\0\1") + data(b"\0")],
    ids=["data", "redirect", "a NUL alone"],
)
def test_a_redirect_without_any_text_is_refused(gate: Site, answer: bytes) -> None:
    is_refused(gate, answer, "no address text", "tns.bad_redirect")


# -- what else comes to a redirect's pinhole ---------------------------------------------------------------------------


@contextlib.contextmanager
def waiting(gate: Site) -> Iterator[tuple[tuple[str, int], Listener]]:
    """A client that was sent to the listener's port 21522 and has not gone there yet."""
    with (
        listening(gate.server, to(gate.server.v4, 21522)),
        listening(gate.server, accept(), 21522) as second,
        gate.calling() as client,
    ):
        yield redirected(client), second


def test_a_stranger_who_comes_first_finds_nothing_and_the_right_client_still_gets_in(gate: Site) -> None:
    """The pinhole stands on the listener's own address: there is none for him, and the firewall forwards nothing."""
    with waiting(gate) as (where, second):
        assert fate(gate.lab.client_stranger, *where) == "silent"
        assert not second.was_reached
        with calling(gate.client, where) as client:
            read_all(client, len(accept()))
            assert passes(client, second.take())
    assert gate.violations() == []
    assert len(gate.told("pinhole.used")) == 1


def test_a_used_pinhole_takes_no_second_connection(gate: Site) -> None:
    with waiting(gate) as (where, second), calling(gate.client, where) as client:
        read_all(client, len(accept()))
        served = second.take()
        assert fate(gate.client, *where) in ("silent", "refused")
        assert open_ports(gate.client, where[0], [where[1]]) == set()
        assert passes(client, served)
    assert len(second.connects) == len(gate.told("pinhole.used")) == 1


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_an_unused_pinhole_is_gone_after_its_time(snat: str) -> None:
    with (
        site(snat, more="timeouts: {pinhole_open: 0.3}") as gate,
        gate.one_test(),
        waiting(gate) as (where, second),
    ):
        assert gate.daemon.wait_for("pinhole.closed")["reason"] == "never_used"
        assert fate(gate.client, *where) in ("silent", "refused")
        assert not second.was_reached


def test_a_pinhole_of_a_published_listener_admits_its_client_alone(published: Site) -> None:
    with waiting(published) as (where, second):
        assert where[0] == published.listener_at[0]
        assert 40000 <= where[1] <= 40099
        assert fate(published.lab.server_stranger, *where) == "reset"
        with calling(published.client, where) as client:
            read_all(client, len(accept()))
            assert passes(client, second.take())
    assert published.violations() == ["pinhole.stranger"]


def test_a_client_that_says_something_else_at_the_pinhole_is_closed(gate: Site) -> None:
    """It is a session of the helper, as the first: nothing passes that is no TNS."""
    with waiting(gate) as (where, second), calling(gate.client, where, b"GET / HTTP/1.1\r\n\r\n") as client:
        assert ending(client) in ("reset", "closed")
        assert second.connects == []
    assert gate.violations() == ["tns.malformed"]


# -- what is not TNS ---------------------------------------------------------------------------------------------------

HTTP = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n" + b"a" * 1200
CLIENT_HELLO = bytes.fromhex("160301006c010000680303") + bytes(range(97))


def test_http_is_closed_and_nothing_of_it_arrives(gate: Site) -> None:
    with listening(gate.server, None) as listener, gate.calling(HTTP) as client:
        served = listener.take()
        assert ending(client) in ("reset", "closed")
        assert ending(served) in ("reset", "closed")
    assert gate.violations() == ["tns.malformed"]
    assert gate.reasons() == ["not_tns"]
    gate.nothing_was_opened()


def test_a_connect_behind_garbage_is_not_found_again(gate: Site) -> None:
    with listening(gate.server, None) as listener, gate.calling(HTTP + connect()) as client:
        assert ending(client) in ("reset", "closed")
        assert ending(listener.take()) in ("reset", "closed")
    assert gate.reasons() == ["not_tns"]


def test_a_client_hello_and_what_follows_passes_unread(gate: Site) -> None:
    with listening(gate.server, None) as listener, gate.calling(CLIENT_HELLO) as client:
        served = listener.take()
        assert read_all(served, len(CLIENT_HELLO)) == CLIENT_HELLO
        served.sendall(to(gate.server.v4, 21522))  # as opaque as all else
        assert redirected(client)[1] == 21522
        assert passes(client, served)
    assert len(gate.told("tns.tls")) == 1
    gate.nothing_was_opened()


def test_a_client_hello_is_closed_where_the_policy_denies_tls() -> None:
    with site(options="tls: deny") as gate, gate.one_test():
        with listening(gate.server, None) as listener, gate.calling(CLIENT_HELLO) as client:
            served = listener.take()
            assert ending(client) in ("reset", "closed")
            assert ending(served) in ("reset", "closed")
        assert gate.violations() == ["tns.tls_denied"]
        assert gate.reasons() == ["tls_denied"]


def test_a_listener_that_speaks_first_is_closed(gate: Site) -> None:
    with listening(gate.server, None) as listener, dial(gate.client, *gate.listener_at) as client:
        listener.take().sendall(to("10.1.0.3", 8080))
        assert ending(client) in ("reset", "closed")
    assert gate.violations() == ["tns.malformed"]
    gate.nothing_was_opened()


def test_a_client_that_no_policy_lets_in_is_denied_where_another_one_is_awaited() -> None:
    with Lab("routed") as lab:
        other = lab.client_stranger
        deny = f"{{name: not-he, from: [lan0], source: [{other.v4}], action: deny}}"
        accept_all = "{name: lan-out, from: [lan0], action: accept, snat: none}"
        node = lab.server_stranger
        with (
            pinhole(lab, f"policies: [{deny}, {accept_all}]") as daemon,
            listening(node, accept()) as second,
            listening(lab.server, to(node.v4, 1521)),
            calling(lab.client, (str(lab.server.v4), 1521)) as client,
        ):
            where = redirected(client)
            assert fate(other, *where) == "reset"
            assert daemon.wait_for("session.denied")["policy"] == "not-he"
            assert not second.was_reached
            with calling(lab.client, where) as session:
                assert len(read_all(session, len(accept()))) == len(accept())


@pytest.mark.parametrize("version", [4, 6])
def test_without_nat_others_come_to_the_address_that_a_redirect_names_as_before(version: int) -> None:
    """One listener leads many to an address that others know: only whom it leads needs the pinhole."""
    with site() as gate:
        other, node = gate.lab.client_stranger, gate.lab.server_stranger
        there = (str(node.address(version)), 1521)
        with (
            listening(node, accept(), version=version) as second,
            calling(other, there) as long_since,
            listening(gate.server, to(node.address(version), 1521), version=version),
        ):
            read_all(long_since, len(accept()))
            served = second.take()
            for _ in range(2):
                with calling(gate.client, (str(gate.server.address(version)), 1521)) as client:
                    assert redirected(client) == there
                    for _ in range(3):
                        with calling(other, there) as session:
                            assert len(read_all(session, len(accept()))) == len(accept())
                    with calling(gate.client, there) as session:
                        assert len(read_all(session, len(accept()))) == len(accept())
                assert passes(long_since, served)
        assert gate.violations() == []
        assert len(gate.told("pinhole.used")) == 2
