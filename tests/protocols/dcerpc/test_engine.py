"""How long what is open stands, whose it is, and what policies say: what transcripts cannot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Transport
from protocols.contract.effects import Close
from protocols.dcerpc import interfaces
from protocols.dcerpc.endpoints import Bound
from protocols.dcerpc.helper import HELPER, DcerpcEngines
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import uuid_text
from tests.harness.dcerpc_messages import (
    ACTIVATOR,
    ADDRESS,
    BOTH,
    EPM,
    FIRST,
    NETLOGON,
    SAMR,
    Stub,
    activated,
    asks,
    bind,
    bound,
    lists,
    maps,
    pdu,
    request,
    response,
    tower,
    trailer,
)
from tests.harness.dcerpc_talk import (
    CLIENT,
    INSIDE,
    PEERS,
    PUBLISHED,
    SERVER,
    agreed,
    asked,
    ended_by,
    hears,
    opened,
    session,
    standing,
    talk,
)
from tests.harness.playbook import Session


def as_bound(beside: Session | None = None, **options: Any) -> Session:
    """A session that came to the endpoint of `PEERS`."""
    at = replace(PEERS.server, port=49153)
    peers = Peers(PEERS.client, PEERS.client_as_seen, at, at, Transport.TCP, Bound())
    return session(peers, beside, check_bind=True, **options)


# -- how long ----------------------------------------------------------------------------------------------------------


def test_what_is_open_outlives_its_connection_and_goes_with_its_pinhole() -> None:
    """DC34."""
    one = asked(agreed(session()))
    one.close()
    assert not one.is_dissolved and one.engine.is_needed()
    assert standing(one) == {"endpoints": 1}
    one.end(1, 10, 20, "expired")
    assert one.is_dissolved and standing(one) == {"endpoints": 0}


def test_another_session_of_the_client_finds_it_and_renews_it() -> None:
    """DC35."""
    first = asked(agreed(session()))
    second = asked(agreed(session(beside=first)))
    assert opened(second) == [] and first.pinholes.log[-1] == "renew 1 from 198.51.100.2 for 3600 s"
    second.close()
    assert second.is_dissolved and not first.is_dissolved
    assert second.notes("dcerpc.map")[0]["known_as"] == first.pinholes.expected()[0].listen


def test_an_operator_who_ends_a_session_ends_what_it_has_opened() -> None:
    one = asked(agreed(session()))
    one.dissolve()
    assert one.pinholes.standing == {}
    again = asked(agreed(session(beside=one)))
    assert opened(again) == [f"{ADDRESS}:49153"]


def test_an_engine_that_is_stopped_closes_what_it_has_opened() -> None:
    one = asked(agreed(session()))
    assert list(one.engine.stop(one.now)) == [] and one.pinholes.standing == {}
    assert standing(one) == {"endpoints": 0} and not one.engine.is_needed()


def test_a_policy_that_checks_binds_from_now_on_has_its_way_at_once() -> None:
    """DC36: what was open before let anything be bound."""
    first = asked(agreed(session()))
    second = asked(agreed(session(beside=first, check_bind=True)))
    assert first.pinholes.standing == {} and not first.engine.is_needed()
    (grant,) = second.pinholes.expected()
    assert grant.expect.reader is not None and second.engine.is_needed()


def test_a_connection_that_is_read_keeps_its_endpoint_open() -> None:
    """No pinhole sees how long a session lasts that has come through it."""
    first = asked(agreed(session(check_bind=True)))
    came = as_bound(first)
    talk(came, bind((NETLOGON, 1)), bound())
    before = len(first.pinholes.log)
    came.wait(3600)
    assert first.pinholes.log[before:] == ["renew 1 from 198.51.100.2 for 3600 s"] * 2
    came.close()
    assert len(first.pinholes.log) == before + 3


def test_a_connection_that_is_read_ends_when_it_is_silent() -> None:
    came = as_bound(hold=3600.0, endpoint_idle=7200.0)
    talk(came, bind((NETLOGON, 1)), bound())
    came.wait(7200)
    assert came.effects[-1] == Close("idle") and came.engine.deadline() is None
    assert list(came.engine.tick(came.now)) == []


def test_what_is_held_of_connections_that_are_read_has_the_same_bound() -> None:
    first = as_bound()
    others = [as_bound(first) for _ in range(60)]
    for one in others:
        hears(one, CLIENT, bind((NETLOGON, 1)))
        hears(one, CLIENT, pdu(0, bytes(65_000))[:60_000])
    assert {ended_by(one) for one in others if one.is_over} == {"held_too_much"}


def test_nothing_is_said_in_the_place_of_a_server_that_has_ended() -> None:
    came = as_bound(interfaces=("samr",))
    came.eof(SERVER)
    hears(came, CLIENT, bind((NETLOGON, 1)))
    assert came.violations() == ["dcerpc.interface_denied"] and came.sent(CLIENT) == b""
    one = agreed(session(deny_interfaces=("netlogon",)))
    one.eof(SERVER)
    hears(one, CLIENT, request(3, asks()))
    assert one.sent(CLIENT) == bound()


def test_a_bind_after_a_refused_one_may_be_another() -> None:
    came = as_bound(interfaces=("netlogon",))
    hears(came, CLIENT, bind((EPM, 3)))
    hears(came, CLIENT, bind((NETLOGON, 1), call=2))
    assert came.sent(SERVER) == bind((NETLOGON, 1), call=2) and not came.is_over


def test_a_call_after_a_refused_bind_ends_the_connection() -> None:
    came = as_bound(interfaces=("netlogon",))
    hears(came, CLIENT, bind((EPM, 3)))
    hears(came, CLIENT, request(0, bytes(20)))
    assert ended_by(came) == "not_dcerpc" and came.sent(SERVER) == b""


def test_a_hundred_clients_have_twenty_endpoints_each_and_nothing_is_left_of_them() -> None:
    first = session()
    sessions = [first]
    for number in range(100):
        host = ip_address(f"198.51.100.{number + 2}")
        peers = Peers(Endpoint(host, 40000), Endpoint(host, 40000), PEERS.server, PEERS.server)
        one = agreed(session(peers, first))
        for port in range(20):
            asked(one, tower(at=(ADDRESS, 49152 + port)), call=2 + port)
        one.close()
        sessions.append(one)
    assert standing(first) == {"endpoints": 2000}
    for one in sessions:
        for number in tuple(one.pinholes.standing):
            one.end(number, 0, 0, "expired")
    assert standing(first) == {"endpoints": 0}


# -- ports that cannot be another one ----------------------------------------------------------------------------------


def test_what_cannot_be_rewritten_is_not_opened_under_another_number() -> None:
    """DC39: the port is taken; or it is open already, under a number that an unsigned answer could say."""
    taken = agreed(session(PUBLISHED), (ACTIVATOR, 0))
    taken.pinholes.refuse_next = ["address_in_use"]
    talk(taken, request(4, bytes(60)), response(activated([f"{INSIDE}[49153]"])))
    assert opened(taken) == [] and len(taken.notes("dcerpc.signed_address")) == 1
    one = asked(agreed(session(PUBLISHED)), tower(at=(INSIDE, 49153)))
    assert opened(one) == ["203.0.113.7:61000"]
    other = agreed(session(PUBLISHED, one), (ACTIVATOR, 0))
    talk(other, request(4, bytes(60)), response(activated([f"{INSIDE}[49153]"])))
    assert other.violations() == ["dcerpc.other_port"] and opened(other) == []


def test_without_the_same_port_nothing_signed_is_opened() -> None:
    one = agreed(session(PUBLISHED, same_port=False), (ACTIVATOR, 0))
    talk(one, request(4, bytes(60)), response(activated([f"{INSIDE}[49153]"])))
    assert one.violations() == ["dcerpc.other_port"] and opened(one) == []


def test_a_signed_answer_that_is_refused_passes_as_it_came() -> None:
    one = agreed(session(PUBLISHED))
    one.pinholes.refuse_next = ["no_free_port"]
    said = response(maps(tower(at=(INSIDE, 49153))), trailer=trailer(5))
    talk(one, request(3, asks()), said)
    assert one.sent(CLIENT).endswith(said) and opened(one) == []


def test_an_address_that_is_the_outside_one_already_stays() -> None:
    """X7."""
    one = agreed(session(PUBLISHED))
    talk(one, request(2, bytes(52)), response(lists(tower(at=("203.0.113.7", 49153)))))
    assert one.notes("address.rewritten") == []


@pytest.mark.parametrize(("port", "rule"), [(445, "dcerpc.low_port"), (49153, "dcerpc.interface_denied")])
def test_an_inside_address_goes_out_nowhere_even_if_nothing_is_opened(port: int, rule: str) -> None:
    """The second answer names another interface than the one that was asked for."""
    one = agreed(session(PUBLISHED, deny_interfaces=("samr",)))
    asked(one, tower(SAMR if port > 1024 else NETLOGON, (INSIDE, port)))
    assert (opened(one), one.violations()) == ([], [rule])
    assert ip_address(INSIDE).packed not in one.sent(CLIENT)


# -- calls -------------------------------------------------------------------------------------------------------------


def test_a_call_that_wants_no_answer_is_not_waited_for() -> None:
    one = agreed(session())
    hears(one, CLIENT, request(3, asks(), flags=BOTH | 0x40))
    hears(one, SERVER, response(maps(tower())))
    assert (one.violations(), opened(one)) == (["dcerpc.unsolicited"], [])


def test_who_asks_too_often_on_whichever_connection_is_told_that_the_server_is_busy() -> None:
    """DC19: each operation that `rates` names has a rate of its own, for each client."""
    rates = {"ept_map": 1}
    one = agreed(session(rates=rates))
    other = agreed(session(replace(PEERS, client=replace(PEERS.client, port=40001)), one, rates=rates))
    beyond = replace(PEERS.client, host=ip_address("198.51.100.9"))
    stranger = agreed(session(replace(PEERS, client=beyond), one, rates=rates))
    calls = [request(3, asks(), call=number) for number in range(2, 9)]

    def go_on(beside: Session) -> list[bool]:
        """Whether the server is asked, one by one."""
        found = []
        for call in calls:
            before = len(beside.sent(SERVER))
            hears(beside, CLIENT, call)
            found.append(len(beside.sent(SERVER)) > before)
            if found[-1]:
                hears(beside, SERVER, response(maps(), call=int.from_bytes(call[12:16], "little")))
        return found

    assert (go_on(one), go_on(other)) == ([True] * 5 + [False] * 2, [False] * 7)
    assert go_on(stranger) == [True] * 5 + [False] * 2
    assert other.violations() == ["dcerpc.busy"] * 7
    assert other.sent(CLIENT)[-8:-4] == (0x1C010014).to_bytes(4, "little")
    hears(one, CLIENT, lookup := request(2, bytes(52), call=20))
    assert one.sent(SERVER).endswith(lookup)
    one.now = 2.0
    assert go_on(one) == [True] * 2 + [False] * 5
    hears(one, CLIENT, request(3, asks(), call=30, flags=FIRST))
    assert ended_by(one) == "refused"


def test_further_fragments_of_a_call_that_is_not_read_pass() -> None:
    one = agreed(session())
    parts = [request(4, bytes(8), flags=FIRST), request(4, bytes(8), flags=0), request(4, bytes(8), flags=2)]
    for part in parts:
        hears(one, CLIENT, part)
    answers = [response(bytes(8), flags=FIRST), response(bytes(8), flags=2)]
    for answer in answers:
        hears(one, SERVER, answer)
    assert one.sent(SERVER).endswith(b"".join(parts)) and one.sent(CLIENT).endswith(b"".join(answers))


def test_what_only_clients_say_passes_from_a_server_and_is_told() -> None:
    one = agreed(session())
    hears(one, SERVER, pdu(18, b""))
    assert (one.violations(), one.sent(CLIENT)[-16:]) == (["dcerpc.unsolicited"], pdu(18, b""))


def test_a_server_may_say_that_it_shuts_down() -> None:
    one = agreed(session())
    hears(one, SERVER, pdu(17, b""))
    assert (one.violations(), one.sent(CLIENT)[-16:]) == ([], pdu(17, b""))


@pytest.mark.parametrize(
    ("operation", "stub"),
    [
        (4, bytes(32) + bytes([0, 0, 2, 0]) + bytes(60)),
        (3, bytes(32) + bytes([0, 0, 2, 0]) + b"\xff" * 60),
        (3, bytes(20)),
    ],
    ids=["aggregated", "of_two_sizes", "cut_short"],
)
def test_a_class_that_cannot_be_read_is_not_told(operation: int, stub: bytes) -> None:
    one = agreed(session(), (ACTIVATOR, 0))
    talk(one, request(operation, stub), response(activated(["DC1[49724]"])))
    assert one.notes("dcerpc.activation")[0]["class_id"] is None and opened(one) == [f"{ADDRESS}:49724"]


def test_what_is_asked_for_without_a_tower_is_told_without_one() -> None:
    stub = Stub().size(0, 0).put(bytes(20)).number(4).made
    talk(one := agreed(session()), request(3, stub), response(maps()))
    (note,) = one.notes("dcerpc.map")
    assert (note["interface"], note["name"], note["at"]) == (None, None, None)


def test_a_clock_that_is_early_ends_nothing() -> None:
    for one in (session(), as_bound()):
        hears(one, CLIENT, bind())
        assert list(one.engine.tick(one.now)) == []


# -- options -----------------------------------------------------------------------------------------------------------


def test_every_interface_has_a_name_and_every_name_an_interface() -> None:
    for uuid, name in interfaces.KNOWN.items():
        assert interfaces.uuids_of((name.upper(),)) == {uuid} == interfaces.uuids_of((uuid_text(uuid),))
        assert interfaces.name_of(uuid) == name
    assert interfaces.name_of(bytes(16)) == "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(("option", "value"), [
    ("interfaces", ("samba",)), ("deny_interfaces", ("12345778-1234",)), ("callbacks", "5000"), ("callbacks", "80-90"),
    ("callbacks", "5010-5000"), ("callbacks", "5000-9000"), ("callbacks", "65530-65540"), ("callbacks", "allow"),
])  # fmt: skip
def test_a_value_that_means_nothing_is_told(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: "):
        DcerpcOptions(**{option: value})


def test_engines_tell_what_is_open() -> None:
    engines = DcerpcEngines()
    assert engines.counts() == {"endpoints": 0}
    assert not engines(PEERS, DcerpcOptions(), Session.of(HELPER, PEERS).pinholes, 0.0).is_needed()
