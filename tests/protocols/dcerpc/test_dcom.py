"""Objects of DCOM: what activations and the resolver of objects say, and what they open."""

from __future__ import annotations

from ipaddress import ip_network
from struct import pack

import pytest

from tests.harness.dcerpc_messages import (
    ACTIVATOR,
    ADDRESS,
    NDR32,
    NDR64,
    RESOLVER,
    Stub,
    activated,
    alive,
    bindings,
    counted,
    in_fragments,
    request,
    resolved,
    response,
)
from tests.harness.dcerpc_talk import (
    CLIENT,
    INSIDE,
    PUBLISHED,
    agreed,
    opened,
    session,
    talk,
)


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
        (["2001:db8:9::9[49724]", "10.9.9.9[49724]"], "10.9.9.9"),
    ],
)
def test_an_object_may_be_at_a_host_that_an_option_names(texts: list[str], at: str) -> None:
    """DC20, DC30: the option that `explain` advises helps. The server's own address comes first."""
    one = agreed(session(endpoint_hosts=(ip_network("10.9.9.9"), ip_network("2001:db8:9::/48"))), (ACTIVATOR, 0))
    talk(one, request(4, bytes(60)), response(activated(texts)))
    assert (opened(one), one.violations()) == ([f"{at}:49724"], [])


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


def test_callbacks_that_are_too_many_for_the_client_are_told_once() -> None:
    """Whoever gives a client 64 ports for them has no room for its endpoints."""
    one = agreed(session(callbacks="5000-5063", max_endpoints=3), (ACTIVATOR, 0))
    talk(one, request(4, bytes(60)), response(activated(["DC1[49724]"])))
    assert opened(one) == [f"{ADDRESS}:49724", "198.51.100.2:5000", "198.51.100.2:5001"]
    (note,) = one.notes("violation")
    assert (note["rule"], note["detail"].partition(":")[0]) == ("dcerpc.too_many", "callbacks from port 5002 on")
