"""What hostile servers and clients say, each really tried: nothing is opened that should not be, and nothing grows
without a bound (DC3, DC6, DC9, DC16, DC20, DC21, DC30, DC32)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from uuid import UUID

import pytest

from protocols.contract.addresses import Peers
from protocols.dcerpc.association import MAX_UNANSWERED
from protocols.dcerpc.ndr import MAX_STUB_BYTES, PDU_BYTES
from protocols.dcerpc.session import MAX_PENDING
from protocols.dcerpc.wire import MAX_CONTEXTS
from protocols.toolbox.memory import MAX_HELD_OF_CLIENT
from tests.harness.dcerpc_messages import (
    ACTIVATOR,
    ADDRESS,
    ALTER,
    ALTERED,
    EPM,
    FIRST,
    LAST,
    NDR32,
    NDR64,
    NETLOGON,
    RESOLVER,
    SAMR,
    Order,
    Stub,
    activated,
    asks,
    bind,
    bindings,
    bound,
    counted,
    lists,
    maps,
    pdu,
    request,
    resolved,
    response,
    tower,
)
from tests.harness.dcerpc_talk import (
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
from tests.harness.pcap import connections
from tests.harness.recordings import found

# -- what a server answers -----------------------------------------------------------------------------------------

TOO_LONG = b"\x01\0" + (2100).to_bytes(2, "little") + bytes(2100)
WRONG = {
    "size_is_not_length": maps(tower(), size=76),
    "giant_count": maps(tower(), count=2**31),
    "count_of_all_ones": maps(tower(), count=0xFFFFFFFF, most=0xFFFFFFFF),
    "more_than_allowed": maps(tower(), tower(), most=1),
    "too_many_towers": maps(*[tower()] * 129, most=200),
    "tower_too_long": maps(TOO_LONG),
    "too_many_floors": maps(b"\x11\0" + tower()[2:]),
    "floor_beyond_its_tower": maps(tower()[:-2]),
    "tower_of_a_byte": maps(b"\x05"),
    "tower_of_nothing": maps(b""),
    "floor_without_protocol": maps(b"\x01\0\0\0\0\0"),
    "port_of_three_bytes": maps(tower()[:-13] + b"\x03\0\xc0\x01\0" + tower()[-9:]),
    "interface_of_three_bytes": maps(b"\x01\0\x03\0\x0d\0\0\x02\0\0\0"),
    "one_pointer_twice": maps(tower(), tower()).replace(b"\x04\0\0\0K\0\0\0", b"\x03\0\0\0K\0\0\0", 1),
    "cut_short": maps(tower())[:-6],
    "nothing": b"",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_disagrees_with_itself_opens_nothing_and_is_answered(wrong: str) -> None:
    one = talk(agreed(session()), request(3, asks()), response(WRONG[wrong]))
    assert one.violations() == ["dcerpc.malformed"] and opened(one) == []
    said = one.sent(CLIENT)[len(bound()) :]
    assert (said[2], said[24:28]) == (3, (1783).to_bytes(4, "little"))
    talk(one, request(3, asks(), call=3), response(maps(tower()), call=3))
    assert opened(one) == [f"{ADDRESS}:49153"]


@pytest.mark.parametrize("count", [1001, 2**31])
def test_a_list_of_more_than_there_may_be_is_answered(count: int) -> None:
    stub = lists(tower()).replace(b"\x01\0\0\0\xf4\x01\0\0\0\0\0\0\x01\0\0\0", b"".join(
        each.to_bytes(4, "little") for each in (count, count, 0, count)
    ))  # fmt: skip
    one = talk(agreed(session(lookup="open")), request(2, bytes(52)), response(stub))
    assert one.violations() == ["dcerpc.malformed"] and opened(one) == []


def test_an_annotation_that_is_too_long_is_answered() -> None:
    stub = lists(tower()).replace(b"\x0a\0\0\0service 1", b"\x41\0\0\0service 1")
    one = talk(agreed(session(lookup="open")), request(2, bytes(52)), response(stub))
    assert one.violations() == ["dcerpc.malformed"] and opened(one) == []


Case = tuple[str, tuple[UUID, int], int, tuple[UUID, int], Callable[[Order, bool], bytes], bytes]
"""A message that opens something: its name, the interface, its operation, the syntax, what makes the stub of an answer,
and the stub of a question."""


def of_all_kinds() -> Iterator[Case]:
    towers = tower(at=(ADDRESS, 49153)), tower(SAMR, ("0.0.0.0", 49154))
    texts = ["DC1[49724]", f"{ADDRESS}[49724]"]
    for name, interface, operation, asked, make in (
        ("ept_map", (EPM, 3), 3, asks, lambda order, wide: maps(*towers, order=order, is_wide=wide)),
        ("ept_lookup", (EPM, 3), 2, None, lambda order, wide: lists(*towers, order=order, is_wide=wide)),
        ("activation", (ACTIVATOR, 0), 4, None, lambda order, wide: activated(texts, order=order, is_wide=wide)),
        ("oxid", (RESOLVER, 0), 4, None, lambda order, wide: resolved(texts, order=order, is_wide=wide)),
    ):
        for syntax in (NDR32, NDR64):
            stub = asked(is_wide=syntax == NDR64) if asked else bytes(60)
            yield f"{name}-{'ndr64' if syntax == NDR64 else 'ndr32'}", interface, operation, syntax, make, stub


@pytest.mark.parametrize(
    ("case", "order", "peers"),
    list(product(of_all_kinds(), ("<", ">"), (PEERS, PUBLISHED))),
    ids=lambda value: value[0] if isinstance(value, tuple) else "dnat" if value is PUBLISHED else "",
)
def test_every_octet_of_an_answer_may_be_another_one(case: Case, order: Order, peers: Peers) -> None:
    """And every answer may be cut anywhere. `StrictPinholes` judges what is opened; towers keep their length."""
    _, interface, operation, syntax, make, question = case
    stub = make(order, syntax == NDR64)
    one = agreed(session(peers, lookup="open", max_endpoints=5000), interface, syntax)
    whole = talk(one, request(operation, question), response(stub, order=order))
    assert opened(whole)
    changed = [stub[:at] + bytes([byte]) + stub[at + 1 :] for at in range(len(stub)) for byte in (0, 0xFF)]
    for number, each in enumerate((*changed, *(stub[:at] for at in range(len(stub)))), 3):
        talk(one, request(operation, question, call=number), response(each, call=number, order=order))
        for grant in tuple(one.pinholes.standing):
            one.end(grant, 0, 0, "expired")
    assert not one.is_over


def test_the_activation_of_windows_may_be_cut_anywhere() -> None:
    _, recorded = connections(found("dcerpc", "suricata-dcom-activation.pcap"), 135)
    client, server, answer = recorded.client, recorded.server, recorded.stream(SERVER)[232:]
    peers = Peers(client, client, server, server)
    for at in range(24, len(answer) - 24):
        stub = answer[24:at]
        one = agreed(session(peers), (ACTIVATOR, 0))
        talk(one, request(3, bytes(80)), response(stub))
        assert opened(one) in ([], ["192.168.56.101:49724"]) and not one.is_over


def test_an_array_that_is_too_long_with_the_outside_address_is_answered() -> None:
    """Its count has sixteen bits."""
    security = b"\x0a\0\xff\xff" + b"\x09\0" * 65_518 + bytes(4)
    stub = counted(bindings(["10.0.0.5"], security=security), Stub().size(0x20000)).made
    one = talk(agreed(session(PUBLISHED), (RESOLVER, 0)), request(4, bytes(16)))
    parts = [stub[at : at + 4000] for at in range(0, len(stub), 4000)]
    for number, part in enumerate(parts):
        flags = (FIRST if not number else 0) | (LAST if number == len(parts) - 1 else 0)
        hears(one, SERVER, response(part, flags=flags))
    assert one.violations() == ["dcerpc.malformed"] and not one.is_over


# -- answers that nobody has asked for ------------------------------------------------------------------------------


def test_an_answer_with_the_number_of_another_call_opens_nothing() -> None:
    one = talk(agreed(session()), request(4, bytes(20)), response(maps(tower())))
    assert (one.violations(), opened(one)) == ([], [])


def test_the_oldest_of_too_many_calls_is_forgotten() -> None:
    one = agreed(session())
    for number in range(2, MAX_PENDING + 3):
        hears(one, CLIENT, request(3, asks(), call=number))
    hears(one, SERVER, response(maps(tower()), call=2))
    assert (one.violations(), opened(one)) == (["dcerpc.unsolicited"], [])
    hears(one, SERVER, response(maps(tower()), call=3))
    assert opened(one) == [f"{ADDRESS}:49153"]


def test_what_was_held_of_a_call_that_is_forgotten_goes_on() -> None:
    one = agreed(session())
    half = request(3, asks()[:40], call=2, flags=FIRST)
    hears(one, CLIENT, half)
    hears(one, CLIENT, request(3, asks(), call=3))
    first = response(maps(tower())[:40], call=3, flags=FIRST)
    hears(one, SERVER, first)
    for number in range(4, MAX_PENDING + 4):
        hears(one, CLIENT, request(4, bytes(20), call=number))
    assert half in one.sent(SERVER) and one.sent(CLIENT).endswith(first)


def test_two_calls_with_one_number_end_the_connection() -> None:
    one = talk(agreed(session()), request(3, asks()))
    hears(one, CLIENT, request(3, asks(tower(SAMR))))
    assert ended_by(one) == "malformed"


def test_a_fragment_of_no_call_ends_the_connection() -> None:
    """A server that took it for a whole call would register an endpoint."""
    one = talk(agreed(session()), request(0, bytes(40), flags=LAST))
    assert ended_by(one) == "malformed" and one.sent(SERVER) == bind()


def test_an_endpoint_is_not_registered_in_fragments_either() -> None:
    one = talk(agreed(session()), request(0, bytes(40), flags=FIRST))
    assert (one.violations(), ended_by(one)) == (["dcerpc.epm_write"], "refused")


def test_fragments_in_two_byte_orders_end_the_connection() -> None:
    one = talk(agreed(session()), request(3, asks()), response(maps(tower())[:40], flags=FIRST))
    hears(one, SERVER, response(maps(tower())[40:], flags=LAST, order=">"))
    assert ended_by(one) == "malformed" and opened(one) == []


def test_a_response_that_is_sealed_in_its_middle_ends_the_connection() -> None:
    one = talk(agreed(session()), request(3, asks()), response(maps(tower())[:40], flags=FIRST))
    trailer = bytes([10, 6, 0, 0]) + bytes(20)
    hears(one, SERVER, response(maps(tower())[40:], flags=LAST, trailer=trailer))
    assert ended_by(one) == "malformed" and opened(one) == []


# -- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 40_000])
def test_fragments_without_end_are_not_held(size: int) -> None:
    one = talk(agreed(session()), request(3, asks()))
    fragment = response(bytes(size), flags=0)
    hears(one, SERVER, response(bytes(size), flags=FIRST))
    for _ in range(MAX_STUB_BYTES // (len(fragment) + PDU_BYTES) + 2):
        hears(one, SERVER, fragment)
    assert ended_by(one) in ("malformed", "held_too_much") and one.sent(CLIENT) == bound()


def test_requests_without_end_are_not_held() -> None:
    one = talk(agreed(session()), request(3, bytes(40_000), flags=FIRST))
    for _ in range(MAX_STUB_BYTES // 40_000 + 2):
        hears(one, CLIENT, request(3, bytes(40_000), flags=0))
    assert ended_by(one) == "malformed" and one.sent(SERVER) == bind()


def test_all_connections_of_a_client_hold_so_much_and_no_more() -> None:
    first = session()
    others = [session(beside=first) for _ in range(60)]
    half = pdu(0, bytes(65_000))[:60_000]
    for one in (first, *others):
        talk(one, bind())
        hears(one, CLIENT, half)
    ended = [one for one in others if one.is_over]
    assert not first.is_over and len(ended) > 10
    assert {ended_by(one) for one in ended} == {"held_too_much"}
    assert sum(not one.is_over for one in others) * 50_000 < MAX_HELD_OF_CLIENT
    for one in (first, *others):
        one.close()
    again = talk(session(beside=first), bind())
    hears(again, CLIENT, half)
    assert not again.is_over


def test_contexts_have_a_bound() -> None:
    one = session()
    for number in range(MAX_CONTEXTS // 128 + 1):
        kind, answer = (ALTER, ALTERED) if number else (11, 12)
        some = [(NETLOGON, 1)] * 128
        talk(
            one,
            bind(*some, kind=kind, call=number, first=128 * number),
            bound(*[NDR32] * 128, kind=answer, call=number),
        )
    assert ended_by(one) == "malformed"


def test_a_context_is_agreed_on_once() -> None:
    """DC9: a server that keeps the first meaning would register an endpoint by a call that we take for another."""
    one = agreed(session())
    talk(one, bind((NETLOGON, 1), kind=ALTER, call=2), bound(kind=ALTERED, call=2))
    assert ended_by(one) == "malformed"
    twice = pdu(11, bind((EPM, 3), (NETLOGON, 1))[16:].replace(b"\x01\0\x01\0", b"\0\0\x01\0"))
    one = talk(session(), twice, bound(NDR32, NDR32))
    assert ended_by(one) == "malformed"


def test_a_context_may_be_asked_for_again_as_what_it_is() -> None:
    """Clients do so for the further messages of an authentication."""
    one = agreed(session())
    talk(one, bind(kind=ALTER, call=2), bound(kind=ALTERED, call=2))
    talk(one, request(3, asks(), call=3), response(maps(tower()), call=3))
    assert opened(one) == [f"{ADDRESS}:49153"]


def test_binds_that_wait_have_a_bound() -> None:
    one = session()
    for number in range(MAX_UNANSWERED):
        hears(one, CLIENT, bind(kind=ALTER if number else 11, call=number))
    assert not one.is_over
    hears(one, CLIENT, bind(kind=ALTER, call=99))
    assert ended_by(one) == "malformed"


@pytest.mark.parametrize(
    "answer", [bound(NDR32, NDR32), bound(NDR32)[:-4], bound(call=9)], ids=["more", "cut", "unasked"]
)
def test_results_that_do_not_pair_with_contexts_end_the_connection(answer: bytes) -> None:
    answer = answer[:8] + len(answer).to_bytes(2, "little") + answer[10:]
    one = talk(session(), bind(), answer)
    assert ended_by(one) == "malformed"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xfeSMB" + bytes(60),
        b"POST /rpc HTTP/1.1\r\n",
        b"\x05\x02\x0b" + bytes(13),
        b"\x05\0\x63" + bytes(13),
        bind()[:4] + b"\x30" + bind()[5:],
        b"\x05\0\x0b\x03\x10\0\0\0\x0f\0\0\0" + bytes(8),
        b"\x05\0\x0b\x03\x10\0\0\0\x20\0\x40\0" + bytes(40),
        pdu(11, b"\0\0"),
        pdu(11, bytes(8) + b"\x09\0\0\0" + bytes(20)),
        pdu(11, bytes(8) + b"\x01\0\0\0" + b"\0\0\xff\0" + bytes(20)),
    ],
)
def test_what_is_no_bind_ends_at_once(garbage: bytes) -> None:
    """DC3: also from a browser that was told to speak to port 135."""
    one = talk(session(), garbage)
    assert ended_by(one) in ("not_dcerpc", "malformed") and one.sent(SERVER) == b""


@pytest.mark.parametrize("trailer", [b"", b"\x0a\x05\xff\0\0\0\0\0" + bytes(16)])
def test_a_response_that_is_too_short_for_its_head_ends_the_connection(trailer: bytes) -> None:
    one = talk(agreed(session()), request(3, asks()), pdu(2, bytes(8 if trailer else 2), call=2, trailer=trailer))
    assert ended_by(one) == "malformed" and opened(one) == []


def test_a_request_that_ends_within_its_object_ends_the_connection() -> None:
    one = talk(agreed(session()), pdu(0, bytes(12), call=2, flags=FIRST | LAST | 0x80))
    assert ended_by(one) == "malformed" and one.sent(SERVER) == bind()
