"""Phones that call each other by way of a registrar, through the gateway in each role: baresip and Kamailio.

A *client* is a phone that reaches the registrar through the gateway, a *neighbour* one beside the registrar. So media
goes between hosts of which neither is the one that signals. The gateway drops all that pinhole does not carry.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.exchange import Exchange, connect, converse, hang_up, listening
from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import BACKENDS, HIDING, ROLES, ROUTING, Gateway
from tools.peers import audio, baresip
from tools.peers.kamailio import find, kamailio

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(baresip.is_missing(), reason="not installed (tools/setup --test): baresip-core"),
    pytest.mark.skipif(find() is None, reason="not installed (tools/setup --test): kamailio"),
]

GATEWAYS = [(role, backend) for role in ROLES for backend in BACKENDS]
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module", params=GATEWAYS, ids=lambda param: f"{param[0].name}-{param[1]}")
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    role, backend = request.param
    with gateways.serving(role, backend) as serving:
        yield serving


@pytest.fixture
def exchange(gateway: Gateway) -> Iterator[Exchange]:
    with kamailio(gateway.server):
        yield Exchange(gateway)


@pytest.fixture
def exchange_that_leaves(gateway: Gateway) -> Iterator[Exchange]:
    with kamailio(gateway.server, record_route=False):
        yield Exchange(gateway)


every_role = pytest.mark.parametrize(
    "gateway", [(role, "nft") for role in ROLES], ids=[role.name for role in ROLES], indirect=True, scope="module"
)


@both_versions
def test_phones_call_each_other_in_both_directions(exchange: Exchange, version: int) -> None:
    with (
        exchange.client("alice", version) as alice,
        exchange.neighbour("bob", version) as bob,
        exchange.log(calls=2) as log,
    ):
        for caller, callee in ((alice, bob), (bob, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(callee, caller)
    ended = [line for line in log if line["event"] == "call.ended"]
    assert [line["reason"] for line in ended] == ["bye_of_callee"] * 2
    for line in ended:
        (stream,) = line["streams"]
        assert min(stream["packets_to_caller"], stream["packets_to_callee"]) >= 20


@every_role
def test_over_tcp_too(exchange: Exchange) -> None:
    with (
        exchange.client("alice", transport="tcp") as alice,
        exchange.neighbour("bob", transport="tcp") as bob,
        exchange.log(calls=2) as log,
    ):
        for caller, callee in ((alice, bob), (bob, alice)):
            connect(caller, callee)
            converse(caller, callee)
            hang_up(caller, callee)
    assert {line["reason"] for line in log if line["event"] == "call.ended"} == {"bye_of_caller"}


@every_role
def test_a_call_is_held_and_resumed(exchange: Exchange) -> None:
    with (
        exchange.client("alice") as alice,
        exchange.neighbour("bob") as bob,
        exchange.log(calls=1) as log,
        listening(alice) as at_alice,
        listening(bob) as at_bob,
    ):
        connect(alice, bob)
        converse(alice, bob)
        for holder in (alice, bob):
            holder.hold()
            for one in (alice, bob):
                one.wait_for("CALL_REMOTE_SDP")
            at_alice.until_silent()
            at_bob.until_silent()
            holder.resume()
            for one in (alice, bob):
                one.wait_for("CALL_REMOTE_SDP")
            # baresip records nothing after a hold: what comes to its host is looked at.
            assert audio.run_of(at_alice.hear(), audio.frames(bob.played))
            assert audio.run_of(at_bob.hear(), audio.frames(alice.played))
        hang_up(bob, alice)
    # Media stays where it was.
    assert [line["event"] for line in log].count("call.started") == 1


@every_role
def test_an_unanswered_call_is_cancelled(exchange: Exchange) -> None:
    with exchange.client("alice") as alice, exchange.neighbour("bob") as bob, exchange.log(calls=0) as log:
        for caller, callee in ((alice, bob), (bob, alice)):
            caller.dial(callee.user)
            callee.wait_for("CALL_INCOMING")
            caller.wait_for("CALL_RINGING")  # before, a phone sends no CANCEL (RFC 3261 s.9.1)
            caller.hang_up()
            callee.wait_for("CALL_CLOSED")
    assert "call.started" not in [line["event"] for line in log]


@every_role
def test_a_busy_phone_is_told_of_as_busy(exchange: Exchange) -> None:
    with exchange.client("alice") as alice, exchange.neighbour("bob") as bob, exchange.log(calls=0) as log:
        for caller, callee in ((alice, bob), (bob, alice)):
            caller.dial(callee.user)
            callee.wait_for("CALL_INCOMING")
            callee.hang_up()
            assert caller.wait_for("CALL_CLOSED")["param"].startswith("486 ")
    assert "call.started" not in [line["event"] for line in log]


@every_role
@pytest.mark.parametrize("inwards", [True, False], ids=["to_a_client", "to_a_neighbour"])
def test_a_call_is_transferred(exchange: Exchange, inwards: bool) -> None:
    with (
        exchange.client("alice") as alice,
        exchange.neighbour("bob") as bob,
        exchange.client("carol", host=1) if inwards else exchange.neighbour("carol", number=1) as carol,
        exchange.log(calls=2) as log,
    ):
        transferring, transferred = (alice, bob) if inwards else (bob, alice)
        connect(alice, bob)
        converse(alice, bob)
        transferring.transfer("carol")
        carol.wait_for("CALL_INCOMING")
        carol.answer()
        carol.wait_for("CALL_ESTABLISHED")
        transferring.wait_for("CALL_CLOSED")
        converse(carol, transferred)
        hang_up(carol, transferred)
    started = [(line["from"], line["to"]) for line in log if line["event"] == "call.started"]
    assert started == [(alice.uri, bob.uri), (transferred.uri, carol.uri)]


@every_role
def test_a_phone_is_called_after_its_registration_was_refreshed_twice(exchange: Exchange) -> None:
    # The registrar counts whole seconds: of two it may forget her one second after a refresh, before bob's call comes.
    with exchange.log(calls=1) as log, exchange.client("dora", expires=3) as dora, exchange.neighbour("bob") as bob:
        for _ in range(2):
            dora.wait_for("REGISTER_OK")
        connect(bob, dora)
        converse(bob, dora)
        hang_up(bob, dora)
    told = [line["event"] for line in log if line.get("aor") == dora.uri]
    assert told[:3] == ["registration.added", "registration.refreshed", "registration.refreshed"]


@every_role
def test_one_call_rings_two_phones(exchange: Exchange) -> None:
    with (
        exchange.client("alice") as first,
        exchange.client("alice", host=1) as second,
        exchange.neighbour("bob") as bob,
        exchange.log(calls=1) as log,
    ):
        bob.dial("alice")
        for one in (first, second):
            one.wait_for("CALL_INCOMING")
        second.answer()
        first.wait_for("CALL_CLOSED")  # the registrar cancels it
        bob.wait_for("CALL_ESTABLISHED")
        converse(bob, second)
        hang_up(bob, second)
    assert [line["event"] for line in log].count("call.started") == 1


@pytest.mark.parametrize(
    "gateway", [(ROUTING, "nft"), (HIDING, "nft")], ids=["snat_none", "snat_interface"], indirect=True, scope="module"
)
def test_phones_that_know_each_other_by_contact_alone_end_their_calls(exchange_that_leaves: Exchange) -> None:
    """The proxy steps out of the path: ACK and BYE go to the Contact of the other phone."""
    exchange = exchange_that_leaves
    with exchange.client("alice") as alice, exchange.neighbour("bob") as bob, exchange.log(calls=4) as log:
        for caller, callee in ((alice, bob), (bob, alice)):
            for ending, other in ((caller, callee), (callee, caller)):
                connect(caller, callee)
                converse(caller, callee)
                hang_up(ending, other)
    ended = [line["reason"] for line in log if line["event"] == "call.ended"]
    assert ended == ["bye_of_caller", "bye_of_callee"] * 2
