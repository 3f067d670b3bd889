"""DCE-RPC over UDP: what is held and remembered of a flow, and how much may be asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.contract.addresses import Transport
from protocols.dcerpc.datagrams import MAX_PENDING
from protocols.dcerpc.helper import HELPER
from protocols.dcerpc.options import DcerpcOptions
from protocols.toolbox.rates import IN_A_ROW_SECONDS
from tests.harness.dcerpc_messages import (
    ADDRESS,
    asks,
    datagram,
    maps,
    tower,
)
from tests.harness.dcerpc_talk import (
    CLIENT,
    SERVER,
    ended_by,
    hears,
    opened,
    session,
    talk,
)
from tests.harness.playbook import NETWORKS, on

OVER_UDP = on(NETWORKS["none"], HELPER, Transport.UDP)


@pytest.mark.parametrize(("data", "is_one"), [
    (datagram(0, asks()), True), (datagram(2, asks()), False), (datagram(1, b""), False), (bytes(80), False),
    (datagram(0, b"")[:79], False),
])  # fmt: skip
def test_a_flow_begins_with_a_request_of_version_4(data: bytes, is_one: bool) -> None:
    assert HELPER.begins(data, DcerpcOptions(), None) is is_one
    assert HELPER.idle(DcerpcOptions()) == 30


def test_questions_of_a_flow_have_a_bound() -> None:
    one = session(OVER_UDP)
    for number in range(MAX_PENDING + 1):
        hears(one, CLIENT, datagram(0, asks(), sequence=number))
    hears(one, SERVER, datagram(2, maps(tower(over_udp=True)), sequence=0))
    assert opened(one) == []
    hears(one, SERVER, datagram(2, maps(tower(over_udp=True)), sequence=1))
    assert opened(one) == [f"{ADDRESS}:49153"]
    assert list(one.engine.tick(one.now)) == [] and one.engine.is_needed()


def test_answers_over_udp_are_held_up_to_the_budget_of_their_client() -> None:
    """X7: they may come again, each as it went on."""
    first = session(OVER_UDP)
    flows = [first, *(session(OVER_UDP, first) for _ in range(3))]
    big = maps() + bytes(60_000)
    for one in flows:
        for number in range(16):
            if not one.is_over:
                talk(one, datagram(0, asks(), sequence=number), datagram(2, big, sequence=number))
    ended = [one for one in flows if one.is_over]
    assert 0 < len(ended) < 4 and {ended_by(one) for one in ended} == {"held_too_much"}
    for one in flows:
        one.wait(30)
        one.close()
    again = session(OVER_UDP, first)
    talk(again, datagram(0, asks()), datagram(2, big))
    assert not again.is_over


@pytest.mark.parametrize(
    ("kind", "operation", "a_second"), [(0, 2, 1), (0, 3, 4), (0, 4, 4), (1, 0, 4)], ids=["list", "map", "free", "ping"]
)
def test_datagrams_of_a_source_have_rates_and_lists_lower_ones(kind: int, operation: int, a_second: int) -> None:
    """DC41: also from another port, which is another flow."""
    flows = [session(OVER_UDP, udp_calls=4, udp_lookups=1)]
    peers = replace(OVER_UDP, client=replace(OVER_UDP.client, port=40001))
    flows.append(session(peers, flows[0], udp_calls=4, udp_lookups=1))
    asks_for = [datagram(kind, asks(), operation=operation, sequence=number) for number in range(50)]
    for second, allowed in ((0.0, IN_A_ROW_SECONDS * a_second), (2.0, (IN_A_ROW_SECONDS + 2) * a_second)):
        for one in flows:
            one.now = second
            for data in asks_for:
                hears(one, CLIENT, data)
        assert sum(len(one.sent(SERVER)) for one in flows) == allowed * len(asks_for[0])
    assert [one.violations() for one in flows] == [["dcerpc.rate"]] * 2


def test_a_list_over_udp_may_be_denied() -> None:
    one = session(OVER_UDP, lookup="deny")
    hears(one, CLIENT, datagram(0, bytes(52), operation=2))
    assert (one.violations(), one.effects[1:]) == (["dcerpc.lookup"], [])


def test_an_endpoint_over_tcp_that_was_asked_for_by_datagrams_is_open_for_connections() -> None:
    one = talk(session(OVER_UDP), datagram(0, asks()), datagram(2, maps(tower())))
    (grant,) = one.pinholes.expected()
    assert grant.expect.transport is Transport.TCP
