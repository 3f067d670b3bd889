"""Two phones on one side of the gateway that call each other by way of a registrar on the other: baresip and Kamailio.

Their call passes the gateway twice. With NAT so does their media, unless they are told of each other (`direct_media`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.interop import test_sip_phones as phones
from tests.interop.exchange import Exchange, connect, converse, hang_up
from tools.lab import gateways
from tools.lab.gateways import HIDING, ROUTING, Role
from tools.peers.kamailio import kamailio

pytestmark = phones.pytestmark

DIRECT = replace(
    HIDING,
    name="direct_media",
    policies=lambda lab: (
        """
  - {name: lan-out, from: [lan0], action: accept, snat: interface, options: {sip: {direct_media: true}}}
"""
    ),
)


@contextlib.contextmanager
def exchange(role: Role, record_route: bool = True) -> Iterator[Exchange]:
    with gateways.serving(role, "nft") as gateway, kamailio(gateway.server, record_route):
        yield Exchange(gateway)


@pytest.mark.parametrize("role", [ROUTING, HIDING, DIRECT], ids=lambda role: role.name)
@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_two_phones_behind_the_gateway_call_each_other(role: Role, version: int) -> None:
    with (
        exchange(role) as between,
        between.client("alice", version) as alice,
        between.client("carol", version, host=1) as carol,
        between.log(calls=4) as log,
    ):
        for caller, callee in ((alice, carol), (carol, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(callee, caller)
    ended = [line for line in log if line["event"] == "call.ended"]
    passed = [stream["packets_to_caller"] for line in ended for stream in line["streams"]]
    assert all(passed) if role is HIDING else not any(passed)


def test_they_find_each_other_when_the_registrar_has_left_the_path() -> None:
    with (
        exchange(HIDING, record_route=False) as between,
        between.client("alice") as alice,
        between.client("carol", host=1) as carol,
        between.log(calls=4),
    ):
        for caller, callee in ((alice, carol), (carol, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(callee, caller)


@pytest.mark.parametrize("role", [ROUTING, HIDING], ids=lambda role: role.name)
def test_a_registrar_that_leaves_the_path_leaves_them_a_way(role: Role) -> None:
    with (
        exchange(role, record_route=False) as between,
        between.client("alice") as alice,
        between.neighbour("bob") as bob,
        between.log(calls=2),
    ):
        for caller, callee in ((alice, bob), (bob, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(callee, caller)
