"""How long what is open stands, whose it is, and what policies say: what transcripts cannot."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from struct import pack

import pytest

from protocols.contract.addresses import Endpoint, Peers, Transport
from protocols.contract.effects import Close
from protocols.dcerpc import interfaces
from protocols.dcerpc.datagrams import MAX_PENDING
from protocols.dcerpc.endpoints import Bound
from protocols.dcerpc.helper import HELPER, DcerpcEngines
from protocols.dcerpc.options import DcerpcOptions
from protocols.dcerpc.wire import uuid_text
from protocols.toolbox.rates import IN_A_ROW_SECONDS
from tests.harness.dcerpc_messages import (
    ACTIVATOR,
    ADDRESS,
    BOTH,
    EPM,
    FIRST,
    NDR32,
    NDR64,
    NETLOGON,
    RESOLVER,
    SAMR,
    Stub,
    activated,
    alive,
    asks,
    bind,
    bindings,
    bound,
    counted,
    datagram,
    in_fragments,
    lists,
    maps,
    pdu,
    request,
    resolved,
    response,
    tower,
    trailer,
)
from tests.harness.playbook import NETWORKS, Session, on
from tests.protocols.dcerpc.test_attacks import (
    CLIENT,
    PEERS,
    PUBLISHED,
    SERVER,
    agreed,
    ended_by,
    hears,
    opened,
    session,
    talk,
)

INSIDE = "10.0.0.5"


def as_bound(beside: Session | None = None, **options: object) -> Session:
    """A session that came to the endpoint of `PEERS`."""
    at = replace(PEERS.server, port=49153)
    peers = Peers(PEERS.client, PEERS.client_as_seen, at, at, Transport.TCP, Bound())
    return session(peers, beside, check_bind=True, **options)


def asked(one: Session, *answers: bytes, call: int = 2) -> Session:
    return talk(one, request(3, asks(), call=call), response(maps(*answers or (tower(),)), call=call))


# -- how long ----------------------------------------------------------------------------------------------------------


def test_what_is_open_outlives_its_connection_and_goes_with_its_pinhole() -> None:
    """DC34."""
    one = asked(agreed(session()))
    one.close()
    assert not one.is_dissolved and one.engine.is_needed()
    assert one.engines.standing() == {"endpoints": 1}  # type: ignore[attr-defined]
    one.end(1, 10, 20, "expired")
    assert one.is_dissolved and one.engines.standing() == {"endpoints": 0}


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
    assert one.engines.standing() == {"endpoints": 0} and not one.engine.is_needed()  # type: ignore[attr-defined]


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


# -- DCOM --------------------------------------------------------------------------------------------------------------


def with_extensions(stub: bytes, slots: int, *, is_wide: bool = False) -> bytes:
    """An answer of DCOM that says more about itself before its object: one extension of eight octets."""
    made = Stub("<", is_wide).number(1).size(0x20008).number(1, 0).size(0x2000C).size(slots)
    made.size(*([0x20010] + [0] * (slots - 1)))
    made.size(8).put(bytes(16)).number(8).put(b"\x55" * 8).align(8 if is_wide else 4)
    return made.made + stub[16 if is_wide else 8 :]


@pytest.mark.parametrize("is_wide", [False, True])
def test_an_activation_with_extensions_is_read(is_wide: bool) -> None:
    one = agreed(session(), (ACTIVATOR, 0), NDR64 if is_wide else NDR32)
    stub = with_extensions(activated(["DC1[49724]"], is_wide=is_wide), 2, is_wide=is_wide)
    talk(one, request(4, bytes(60)), response(stub))
    assert opened(one) == [f"{ADDRESS}:49724"]
    stub = with_extensions(activated(["DC1[49725]"], is_wide=is_wide), 40, is_wide=is_wide)
    talk(one, request(4, bytes(60), call=3), response(stub, call=3))
    assert one.violations() == ["dcerpc.malformed"] and len(opened(one)) == 1


def test_extensions_without_an_array_are_none() -> None:
    one = agreed(session(), (ACTIVATOR, 0))
    stub = Stub().number(1).size(0x20008).number(0, 0).size(0).made + activated(["DC1[49724]"])[8:]
    talk(one, request(4, bytes(60)), response(stub))
    assert opened(one) == [f"{ADDRESS}:49724"]


@pytest.mark.parametrize(
    "stub",
    [
        Stub().number(0).size(0, 0).number(5).made,
        activated(["DC1[49724]"]).replace(b"MEOW", b"MEOV"),
        activated(["DC1[49724]"]).replace(b"MEOW\x04", b"MEOW\x01"),
        activated(["DC1[49724]"]).replace(b"\xb6\x01\0\0", b"\xb7\x01\0\0", 1),
        activated(["DC1[49724]"]).replace(b"\x39\x03\0\0", b"\x38\x03\0\0"),
    ],
    ids=["nothing", "no_reference", "a_standard_reference", "no_such_property", "another_class"],
)
def test_an_activation_without_bindings_is_told_and_opens_nothing(stub: bytes) -> None:
    """DC32: what else an object may be marshalled as is skipped."""
    one = talk(agreed(session(), (ACTIVATOR, 0)), request(4, bytes(60)), response(stub))
    assert (opened(one), one.violations(), one.notes("dcerpc.activation")[0]["bindings"]) == ([], [], [])


@pytest.mark.parametrize(
    "stub",
    [
        activated([f"A{number}[49724]" for number in range(70)]),
        activated(["A" * 600 + "[49724]"]),
        resolved(["DC1[49724]"])[:10] + b"\xff\xff" + resolved(["DC1[49724]"])[12:],
        activated(["DC1[49724]"]).replace(b"\x02\0\0\0\x02\0\0\0", b"\x02\0\0\0\xff\0\0\0", 1),
    ],
    ids=["many", "long", "security", "properties"],
)
def test_bindings_beyond_their_bounds_are_answered(stub: bytes) -> None:
    """DC32."""
    interface = (RESOLVER, 0) if stub[:4] == b"\0\0\x02\0" else (ACTIVATOR, 0)
    one = talk(agreed(session(), interface), request(4, bytes(60)), response(stub))
    assert (opened(one), one.violations()) == ([], ["dcerpc.malformed"])


def test_a_string_binding_without_an_end_is_answered() -> None:
    array = pack("<HH4H", 4, 3, 7, 0x41, 0x42, 0)
    stub = counted(array, Stub().size(0x20000)).align(4).put(bytes(40)).made
    one = talk(agreed(session(), (RESOLVER, 0)), request(4, bytes(16)), response(stub))
    assert one.violations() == ["dcerpc.malformed"]


def test_ports_of_one_object_have_a_bound() -> None:
    texts = [f"DC1[{port}]" for port in range(49700, 49730)]
    one = talk(agreed(session(), (RESOLVER, 0)), request(4, bytes(16)), response(resolved(texts)))
    assert len(opened(one)) == 8


@pytest.mark.parametrize(
    "text", ["DC1[65536]", "DC1[99999]", "DC1[-1]", "DC1[\u0664\u0669\u0667\u0662\u0664]", "DC1[]", "DC1[49724"]
)
def test_what_stands_in_brackets_may_be_no_port(text: str) -> None:
    """X4."""
    one = talk(agreed(session(), (RESOLVER, 0)), request(4, bytes(16)), response(resolved([text])))
    assert (opened(one), one.violations()) == ([], [])


def test_a_server_whose_object_is_elsewhere_does_not_call_back() -> None:
    """DC29, DC30."""
    one = agreed(session(callbacks="5000-5000"), (ACTIVATOR, 0))
    talk(one, request(4, bytes(60)), response(activated(["10.9.9.9[49724]"])))
    assert opened(one) == [] and one.violations() == ["dcerpc.elsewhere"]


@pytest.mark.parametrize(
    ("texts", "at"),
    [
        (["FILES[49724]", "10.9.9.9[49724]"], "10.9.9.9"),
        (["10.8.8.8[49724]", "10.9.9.9[49724]"], "10.9.9.9"),
        (["10.9.9.9[49724]", f"{ADDRESS}[49724]"], ADDRESS),
    ],
)
def test_an_object_may_be_at_a_host_that_an_option_names(texts: list[str], at: str) -> None:
    """DC20, DC30: the option that `explain` advises helps. The server's own address comes first."""
    one = agreed(session(endpoint_hosts=(ip_network("10.9.9.9"),)), (ACTIVATOR, 0))
    talk(one, request(4, bytes(60)), response(activated(texts)))
    assert (opened(one), one.violations()) == ([f"{at}:49724"], [])


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
    assert first.engines.standing() == {"endpoints": 2000}  # type: ignore[attr-defined]
    for one in sessions:
        for number in tuple(one.pinholes.standing):
            one.end(number, 0, 0, "expired")
    assert first.engines.standing() == {"endpoints": 0}  # type: ignore[attr-defined]


def test_other_protocols_than_tcp_are_no_way_to_an_object() -> None:
    stub = counted(bindings(["DC1[49724]"], protocol=8), Stub().size(0x20000)).align(4).put(bytes(40)).made
    one = talk(agreed(session(), (RESOLVER, 0)), request(4, bytes(16)), response(stub))
    assert opened(one) == [] and one.notes("dcerpc.oxid") != []


@pytest.mark.parametrize("stub", [Stub().size(0).put(bytes(28)).made, Stub().number(5).size(0).put(bytes(8)).made])
def test_answers_of_the_resolver_without_an_array_pass(stub: bytes) -> None:
    one = agreed(session(PUBLISHED), (RESOLVER, 0))
    talk(one, request(5 if len(stub) < 20 else 4, bytes(16)), response(stub))
    assert (one.sent(CLIENT).endswith(response(stub)), one.violations()) == (True, [])


def test_an_answer_of_the_resolver_in_fragments_is_not_resized() -> None:
    said = in_fragments(response(alive(["DC1", INSIDE])), 24)
    one = talk(agreed(session(PUBLISHED), (RESOLVER, 0)), request(5, b""), said)
    assert one.sent(CLIENT).endswith(said)


def test_the_callers_ports_are_open_once() -> None:
    """DC29."""
    one = agreed(session(callbacks="5000-5000"), (ACTIVATOR, 0))
    for call in (2, 3):
        talk(one, request(4, bytes(60), call=call), response(activated(["DC1[49724]"]), call=call))
    assert opened(one) == [f"{ADDRESS}:49724", "198.51.100.2:5000"]
    assert one.pinholes.log[-1] == "renew 2 from 203.0.113.7 for 3600 s"


# -- calls -------------------------------------------------------------------------------------------------------------


def test_a_call_that_wants_no_answer_is_not_waited_for() -> None:
    one = agreed(session())
    hears(one, CLIENT, request(3, asks(), flags=BOTH | 0x40))
    hears(one, SERVER, response(maps(tower())))
    assert (one.violations(), opened(one)) == (["dcerpc.unsolicited"], [])


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


# -- datagrams ---------------------------------------------------------------------------------------------------------

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
def test_a_value_that_means_nothing_is_told(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: "):
        DcerpcOptions(**{option: value})  # type: ignore[arg-type]


def test_engines_tell_what_is_open() -> None:
    engines = DcerpcEngines()
    assert engines.counts() == {"endpoints": 0}
    assert not engines(PEERS, DcerpcOptions(), Session.of(HELPER, PEERS).pinholes, 0.0).is_needed()
