"""For how long a SIP connection may say nothing, or half a message; how many bytes are held and remembered for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Abort, Effect, Finish, Send, Splice
from protocols.toolbox import memory as sip_memory
from protocols.toolbox.memory import FREE_BYTES, MAX_HELD_OF_CLIENT, Held, Memory, Recent
from tests.harness.sip_flow import (
    CLIENT,
    DIALOG,
    PROXY,
    SERVER,
    Flow,
    at,
    established,
    invite,
    message,
    register,
    registered,
    response,
)

BODY = "x" * 200_000
LONG = message("MESSAGE sip:x@y SIP/2.0", "Via: SIP/2.0/TCP 10.1.0.2;branch=z9hG4bK1", body=BODY)


def connection(number: int = 0, beside: Flow | None = None, host: str = "10.1.0.2", **options: Any) -> Flow:
    own, seen = at(f"{host}:{41000 + number}"), at(f"203.0.113.1:{42000 + number}")
    return Flow(peers=Peers(own, seen, PROXY, PROXY, Transport.TCP), beside=beside, **options)


def ends(flow: Flow, now: float) -> list[Effect]:
    return [effect for effect in flow.tick(now) if isinstance(effect, Abort)]


def over_tcp(data: bytes) -> bytes:
    return data.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")


def answered(flow: Flow) -> Flow:
    """Both sides have said a message."""
    ping = over_tcp(invite(1, body="")).replace(b"INVITE", b"OPTIONS")
    flow.hear(CLIENT, ping)
    flow.hear(SERVER, over_tcp(response(200, method="OPTIONS")))
    return flow


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    "data", [b"", b"\r\n" * 50, invite()[:-1], b"INVITE"], ids=["silent", "line ends", "half", "word"]
)
def test_a_connection_has_a_first_message_within_its_handshake_or_is_closed(data: bytes, side: Side) -> None:
    flow = connection(message_seconds=1000.0)
    for second in range(30):
        flow.now = float(second)
        if data:
            flow.hear(side, data[second : second + 1])
        assert flow.tick(second) == []
    assert ends(flow, 30.0) == [Abort("handshake_timeout")]


@pytest.mark.parametrize("side", list(Side))
def test_a_message_has_so_much_time_from_its_first_byte_however_it_trickles(side: Side) -> None:
    flow = answered(connection())
    flow.now = 100.0
    flow.hear(side, LONG[:1])
    for second in range(101, 130):
        flow.now = float(second)
        flow.hear(side, LONG[second - 100 : second - 99])
        assert flow.tick(second) == []
    assert ends(flow, 130.0) == [Abort("message_timeout")]


def test_the_end_of_one_message_is_no_time_for_the_next_one() -> None:
    """A whole message and the beginning of another in each segment: each has its own time."""
    flow = answered(connection())
    data = over_tcp(invite(2, body="")).replace(b"INVITE", b"OPTIONS")
    flow.hear(CLIENT, data[:10])
    for round_ in range(1, 6):
        flow.now = 25.0 * round_
        flow.hear(CLIENT, data[10:] + data[:10])
        assert flow.tick(flow.now) == []
    assert flow.engine.deadline() == 125.0 + 30.0
    flow.hear(CLIENT, data[10:])
    assert flow.engine.deadline() == 125.0 + 3600.0


def test_line_ends_are_life_only_between_two_that_have_answered_each_other() -> None:
    flow = connection()
    flow.hear(CLIENT, over_tcp(invite(1, body="")).replace(b"INVITE", b"OPTIONS"))
    flow.now = 3000.0
    flow.hear(CLIENT, b"\r\n\r\n")
    assert ends(flow, 3600.0) == [Abort("idle")]
    flow = answered(connection())
    flow.now = 3000.0
    flow.hear(CLIENT, b"\r\n\r\n")
    assert ends(flow, 3600.0) == []
    assert ends(flow, 6600.0) == [Abort("idle")]


def test_a_call_and_a_registration_keep_their_connection() -> None:
    flow = established(connection())
    assert ends(flow, 3601.0) == []
    flow = connection(beside=flow, number=7)
    flow.hear(CLIENT, over_tcp(register(1, "<sip:alice@10.1.0.2:41007>", 86400)))
    flow.hear(SERVER, over_tcp(registered(1, "<sip:alice@203.0.113.1:42007>;expires=86400")))
    assert ends(flow, 3600.0) == []
    assert ends(flow, 86399.0) == []


def test_each_clock_is_an_option() -> None:
    flow = connection(handshake_seconds=5.0)
    assert ends(flow, 5.0) == [Abort("handshake_timeout")]
    flow = answered(connection(message_seconds=5.0, connection_idle=50.0))
    flow.hear(CLIENT, b"OPT")
    assert ends(flow, 5.0) == [Abort("message_timeout")]
    assert ends(answered(connection(connection_idle=50.0)), 50.0) == [Abort("idle")]


def test_one_byte_of_tls_holds_no_connection() -> None:
    flow = connection()
    flow.hear(CLIENT, b"\x16")
    flow.now = 20.0
    flow.hear(CLIENT, b"\x03\x01" * 100)
    assert ends(flow, 30.0) == [Abort("handshake_timeout")]
    assert flow.hear(SERVER, b"\x16\x03") == []


def test_a_connection_that_both_sides_have_left_has_no_clock() -> None:
    flow = established(connection())
    for side in Side:
        flow.engine.eof(side, 1.0)
    assert ends(flow, 50.0) == []
    assert flow.engine.deadline() != 3600.0


def test_what_waits_is_let_go_when_its_side_has_ended() -> None:
    flow = answered(connection())
    flow.hear(CLIENT, LONG[:100_000])
    flow.engine.eof(CLIENT, 1.0)
    assert flow.table.held.total == 0
    assert ends(flow, 100.0) == []


def test_an_observer_closes_nothing_but_reads_no_more() -> None:
    flow = connection(mode="observe")
    assert flow.hear(CLIENT, b"INVITE sip:x") == [Send(SERVER, b"INVITE sip:x")]
    assert flow.tick(30.0) == [Splice(14400.0)]


def test_an_observer_holds_back_no_part_of_a_message() -> None:
    flow = connection(mode="observe")
    assert flow.hear(CLIENT, b"INVITE sip:x") == [Send(SERVER, b"INVITE sip:x")]
    assert flow.engine.eof(CLIENT, 1.0) == (Finish(SERVER),)
    assert flow.hear(SERVER, b"SIP/2.0 100") == [Send(CLIENT, b"SIP/2.0 100")]
    assert flow.tick(31.0) == [Splice(14400.0)]


def test_what_only_a_part_has_come_of_is_dropped_by_others() -> None:
    flow = connection()
    flow.hear(CLIENT, b"INVITE sip:x")
    assert flow.engine.eof(CLIENT, 1.0) == (Finish(SERVER),)


# -- bytes held --------------------------------------------------------------------------------------------------------


def test_unfinished_messages_of_one_client_have_a_bound_and_others_are_spared() -> None:
    first: Flow | None = None
    held = closed = 0
    flows = []
    for number in range(40):
        flow = connection(number, first)
        first = first or flow
        flows.append(flow)
        closed += flow.hear(CLIENT, LONG[:199_000])[-1:] == [Abort("held_too_much")]
        held = flow.table.held.total
        assert held <= MAX_HELD_OF_CLIENT
    assert closed == 40 - 10
    assert flows[-1].notes[-1].facts["rule"] == "sip.held_too_much"
    other = connection(100, first, "10.1.0.3")
    assert other.hear(CLIENT, LONG[:199_000]) == []
    for flow in (*flows, other):
        flow.engine.stop(1.0)
    assert first is not None and first.table.held.total == 0


def test_both_directions_count_and_ordinary_messages_do_not() -> None:
    flow = answered(connection())
    for side in Side:
        flow.hear(side, LONG[:100_000])
    assert flow.table.held.total == 2 * (100_000 - FREE_BYTES)
    for side in Side:
        flow.hear(side, LONG[100_000:])
    assert flow.table.held.total == 0
    flow.hear(CLIENT, invite()[:-1])
    assert flow.table.held.total == 0


def test_all_clients_together_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_memory, "MAX_HELD_BYTES", 1_000_000)
    held = Held()
    hosts = [at(f"10.1.{number}.2:1").host for number in range(10)]
    assert [held.change(host, 0, 200_000 + FREE_BYTES) for host in hosts] == [True] * 5 + [False] * 5
    assert len(held._of) == 5
    assert held.change(hosts[0], 200_000 + FREE_BYTES, 0)
    assert held.change(hosts[9], 0, 200_000 + FREE_BYTES)


def test_one_host_of_many_ipv6_addresses_is_one_client() -> None:
    held = Held()
    hosts = [ip_address(f"2001:db8:1:2::{number:x}") for number in range(1, 30)]
    assert sum(held.change(host, 0, 200_000) for host in hosts) == MAX_HELD_OF_CLIENT // (200_000 - FREE_BYTES)


# -- bytes remembered --------------------------------------------------------------------------------------------------


@contextmanager
def little(monkeypatch: pytest.MonkeyPatch, most: int) -> Iterator[None]:
    monkeypatch.setattr(sip_memory, "MAX_TABLE_BYTES", most)
    monkeypatch.setattr(sip_memory, "MAX_KEPT_BYTES", most // 2)
    yield


def test_all_that_is_remembered_has_one_budget_and_the_largest_store_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    with little(monkeypatch, 100_000):
        memory = Memory()
        big: Recent[bytes, bytes] = Recent(10**6, memory)
        small: Recent[bytes, bytes] = Recent(10**6, memory)
        small.put(b"mine", b"kept")
        for number in range(1000):
            big.put(b"%d" % number, b"x" * 1000)
            assert memory.used <= 100_000
        assert small.get(b"mine") == b"kept"
        assert big.get(b"999") is not None and big.get(b"0") is None
        for number in range(1000):
            big.drop(b"%d" % number)
        small.drop(b"mine")
        assert memory.used == big.bytes_held == small.bytes_held == 0


def test_odd_vias_hidden_call_ids_and_repeats_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with little(monkeypatch, 300_000):
        flow = Flow(topology_hiding=True)
        for number in range(500):
            call = invite(number + 1, body="").replace(b"INVITE", b"OPTIONS")
            call = call.replace(b"UDP 10.1.0.2;", b"UDP 10.1.0.2:05060;")
            flow.hear(CLIENT, call.replace(b"one@", b"x" * 900 + b"%d@" % number))
            assert flow.table.memory.used <= 300_000


def test_values_that_each_of_many_flows_has_of_its_own_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows cost a forged source one datagram each, and that may hold a hundred values that nobody will say again."""
    with little(monkeypatch, 300_000):
        first = Flow()
        for number in range(20):
            peers = Peers(
                at(f"10.1.0.{number + 3}:5060"), at(f"203.0.113.1:{4000 + number}"), PROXY, PROXY, Transport.UDP
            )
            flow = Flow(peers=peers, beside=first)
            values = [f"{number}-{value}-{'x' * 150}" for value in range(64)]
            fields = [f"Via: SIP/2.0/UDP a;b={value}" for value in values]
            fields += [f"Record-Route: <sip:a;b={value}>" for value in values]
            via = f"Via: SIP/2.0/UDP 10.1.0.{number + 3};branch=z9hG4bK1"
            flow.passes(
                CLIENT, message("OPTIONS sip:b SIP/2.0", via, *fields, *DIALOG, "To: <sip:b>", "CSeq: 1 OPTIONS")
            )
            assert first.table.memory.used <= 300_000
        held = first.table.texts.mapped.bytes_held + first.table.texts.mapped_vias.bytes_held
        assert held > 100_000
        assert len(first.table.texts.mapped) + len(first.table.texts.mapped_vias) < 1000


def test_each_place_in_which_a_guess_was_heard_counts() -> None:
    flow = Flow()
    guesses = ", ".join(["<sip:10.1.0.2;lr>"] * 60)
    via = "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bK1"
    fields = f"Record-Route: {guesses}", "To: <sip:b>", "CSeq: 1 OPTIONS"
    flow.passes(SERVER, message("OPTIONS sip:a SIP/2.0", via, *DIALOG, *fields))
    assert flow.table.echoes.said.bytes_held > 60 * 100


def test_calls_with_long_names_are_refused_when_they_have_used_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with little(monkeypatch, 400_000):
        flow = Flow()
        answers = []
        for number in range(200):
            data = invite(1, body="").replace(b"one@", b"%d" % number + b"x" * 1000 + b"@")
            answers += [effect for effect in flow.hear(CLIENT, data) if isinstance(effect, Send)]
        refused = [send for send in answers if send.to is CLIENT]
        assert refused and all(send.data.startswith(b"SIP/2.0 503 ") for send in refused)
        assert len(flow.table.calls.standing) < 100
        flow.engine.stop(1.0)
        assert flow.table.memory._kept == 0


def test_registrations_count_and_give_back_what_they_had() -> None:
    flow = Flow()
    for number in range(1, 20):
        asked = register(number).replace(b"sip:alice@example.org", b"sip:%d@example.org" % number)
        flow.hear(CLIENT, asked)
        flow.hear(SERVER, registered(number).replace(b"sip:alice@example.org", b"sip:%d@example.org" % number))
    assert flow.table.memory._kept > 19 * 200
    flow.tick(10_000.0)
    assert flow.table.memory._kept == 0


def test_long_branches_and_tags_are_remembered_by_their_hash() -> None:
    flow = Flow()
    data = invite(1).replace(b"z9hG4bK1", b"z9hG4bK" + b"b" * 5000).replace(b"tag=a", b"tag=" + b"t" * 1000)
    flow.hear(CLIENT, data)
    ((call,),) = flow.table.calls.standing.values()
    assert len(call.transactions[0].branch) == 32 and len(call.caller_tag) == 32


# -- answers of ours ---------------------------------------------------------------------------------------------------


def requests() -> list[bytes]:
    via = "Via: SIP/2.0/UDP 10.1.0.2"
    names = "From: a:a", "To: a:a", "Call-ID: a"
    short = message("X a:a SIP/2.0", via, *names, "CSeq: x Y").replace(b"Content-Length: 0\r\n", b"")
    folded = short.replace(b": ", b":").replace(b"Via", b"v").replace(b"From", b"f").replace(b"To", b"t")
    return [short, folded, folded.replace(b"Call-ID", b"i"), invite().replace(b" SIP/2.0\r", b" SIP/3.0\r")]


@pytest.mark.parametrize("number", range(4))
def test_no_answer_is_longer_than_its_request(number: int) -> None:
    data = requests()[number]
    for sent in Flow().hear(CLIENT, data):
        assert isinstance(sent, Send) and sent.to is CLIENT
        assert len(sent.data) <= len(data)


@pytest.mark.parametrize("options", [{"block_methods": ("INVITE",)}, {"rates": {"INVITE": 1}}, {"max_calls": 1}])
def test_refusals_of_a_policy_are_no_longer_either(options: dict[str, Any]) -> None:
    flow = Flow(**options)
    short = b"INVITE a:a SIP/2.0\r\nv:SIP/2.0/UDP 10.1.0.2;branch=%d\r\nf:a:a\r\nt:a:a\r\ni:%d\r\nCSeq:1 INVITE\r\n\r\n"
    refused = 0
    for number in range(3):
        data = short % (number, number)
        for sent in flow.hear(CLIENT, data):
            assert isinstance(sent, Send)
            if sent.to is CLIENT:
                refused += 1
                assert len(sent.data) <= len(data)
    assert refused


def test_a_source_whose_requests_a_server_answers_may_be_forged_all_the_same() -> None:
    """The server's answer went to whoever bears that address."""
    for data in requests():
        flow = Flow()
        flow.hear(CLIENT, invite())
        flow.hear(SERVER, response(486))
        for sent in flow.hear(CLIENT, data):
            assert isinstance(sent, Send) and sent.to is CLIENT
            assert len(sent.data) <= len(data)


def test_a_request_of_usual_length_is_refused_in_the_usual_form() -> None:
    (sent,) = Flow(block_methods=("INVITE",)).hear(CLIENT, invite())
    assert isinstance(sent, Send)
    assert sent.data.startswith(b"SIP/2.0 403 Forbidden\r\nVia: ")
