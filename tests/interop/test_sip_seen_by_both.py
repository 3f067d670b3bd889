"""What phones, registrar and proxy say and hear of each other, by capture on both segments at once.

The whole of it: registration with a challenge, calls in both directions, hold and resume, and the end. The proxy is in
the path and the phones choose their route, so Via, Contact, Route and Record-Route all occur.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.exchange import Exchange, connect, converse, hang_up
from tests.interop.sip_legs import Legs, captured, messages
from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import HIDING, PUBLISHING, PUBLISHING_AND_HIDING, ROUTING, Gateway, Role
from tools.peers import baresip
from tools.peers.baresip import phone
from tools.peers.kamailio import find, kamailio

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(baresip.is_missing(), reason="not installed (tools/setup --test): baresip-core"),
    pytest.mark.skipif(find() is None, reason="not installed (tools/setup --test): kamailio"),
]


@pytest.fixture(scope="module", params=[ROUTING, HIDING, PUBLISHING, PUBLISHING_AND_HIDING], ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@pytest.fixture(scope="module", params=["udp", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[4, 6], ids=["ipv4", "ipv6"])
def legs(request: pytest.FixtureRequest, gateway: Gateway, transport: str) -> Legs:
    """Of alice, whose registrar is beyond the gateway, and bob, whose phone is on the registrar's own host."""
    exchange, version, before = Exchange(gateway), request.param, len(gateway.daemon.audit())
    with captured(gateway) as legs, kamailio(gateway.server):
        registrar = gateway.server.address(version)
        with (
            exchange.client("alice", version, transport=transport) as alice,
            phone(gateway.server, "bob", registrar, transport="tcp" if transport == "tcp" else "udp", number=1) as bob,
        ):
            connect(alice, bob)
            converse(alice, bob)
            for holder in (alice, bob):
                for act in (holder.hold, holder.resume):
                    act()
                    for one in (alice, bob):
                        one.wait_for("CALL_REMOTE_SDP")
            hang_up(bob, alice)
            connect(bob, alice)
            converse(alice, bob)
            hang_up(bob, alice)
        gateway.calls_after(before, 2)
    return legs


def only(*roles: Role) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("gateway", roles, ids=lambda role: role.name, indirect=True, scope="module")


def test_everything_was_said(legs: Legs, gateway: Gateway) -> None:
    for frames in (legs.lan, legs.wan):
        said = messages(frames)
        methods = {message.start.split(b" ")[0] for message in said if not message.is_response}
        assert {b"REGISTER", b"INVITE", b"ACK", b"BYE"} <= methods
        statuses = {message.start.split(b" ")[1] for message in said if message.is_response}
        assert {b"401", b"407", b"100", b"180", b"200"} <= statuses
        fields = {name for message in said for name, _ in message.lines}
        assert {b"via", b"contact", b"route", b"record-route"} <= fields


@only(ROUTING)
def test_without_nat_both_segments_carry_the_same_messages_byte_for_byte(legs: Legs, gateway: Gateway) -> None:
    legs.are_the_same()


@only(HIDING, PUBLISHING)
def test_with_nat_no_field_and_no_line_outside_names_an_address_inside(legs: Legs, gateway: Gateway) -> None:
    legs.hide_the_inside()


@only(PUBLISHING_AND_HIDING)
def test_with_nat_of_both_neither_side_names_an_address_of_the_other(legs: Legs, gateway: Gateway) -> None:
    """But for what a digest covers: the address that was asked for, as the one who asked knew it (S78)."""
    legs.hide_the_inside(spared=[b"proxy-authorization"])
    legs.hide_the_outside(spared=[b"proxy-authorization"])


@only(HIDING, PUBLISHING, PUBLISHING_AND_HIDING)
def test_with_nat_each_host_gets_back_its_own_via_contact_and_route(legs: Legs, gateway: Gateway) -> None:
    legs.give_each_its_own_back()
