"""Messages of PPTP: cut from a stream, and refused where they are none."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Malformed
from protocols.pptp import wire
from protocols.pptp.wire import LEAST, Kind
from protocols.toolbox.packets import Packets
from tests.harness import pptp_messages as pptp

EVERY = {
    Kind.START_REQUEST: pptp.start_request(),
    Kind.START_REPLY: pptp.start_reply(),
    Kind.STOP_REQUEST: pptp.stop_request(),
    Kind.STOP_REPLY: pptp.stop_reply(),
    Kind.ECHO_REQUEST: pptp.echo_request(),
    Kind.ECHO_REPLY: pptp.echo_reply(),
    Kind.OUTGOING_CALL_REQUEST: pptp.outgoing_request(0x1234),
    Kind.OUTGOING_CALL_REPLY: pptp.outgoing_reply(0x1234, 0x5678),
    Kind.INCOMING_CALL_REQUEST: pptp.incoming_request(0x1234),
    Kind.INCOMING_CALL_REPLY: pptp.incoming_reply(0x1234, 0x5678),
    Kind.INCOMING_CALL_CONNECTED: pptp.incoming_connected(0x1234),
    Kind.CALL_CLEAR_REQUEST: pptp.clear(0x1234),
    Kind.CALL_DISCONNECT_NOTIFY: pptp.disconnect(0x1234),
    Kind.WAN_ERROR_NOTIFY: pptp.wan_error(0x1234),
    Kind.SET_LINK_INFO: pptp.link_info(0x1234),
}
"""As the standard draws them."""


def popped(data: bytes) -> list[bytes]:
    buffer = Packets(wire.length_of)
    buffer.push(data)
    found: list[bytes] = []
    while (message := buffer.pop()) is not None:
        wire.check(message, is_first=not found)
        found.append(message)
    return found


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_every_message_has_the_length_of_the_standard(kind: Kind) -> None:
    message = EVERY[kind]
    assert len(message) == LEAST[kind] and wire.kind_of(message) is kind
    assert popped(message + message) == [message, message]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_less_than_that_is_none_and_more_is_one(kind: Kind) -> None:
    """PP10: a kernel fell over the first (FreeBSD, 2026)."""
    body = EVERY[kind][12:]
    with pytest.raises(Malformed, match=kind.name):
        popped(pptp.message(kind, body[:-1]))
    longer = pptp.message(kind, body + b"later")
    assert popped(longer) == [longer]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_is_none_before_it_is_whole(cut: int) -> None:
    buffer, message = Packets(wire.length_of), pptp.echo_request()
    buffer.push(message[:cut])
    assert buffer.pop() is None
    buffer.push(message[cut:] + b"\0")
    assert buffer.pop() == message and buffer.pop() is None
    assert (len(buffer), buffer.rest(), len(buffer)) == (1, b"\0", 0)


@pytest.mark.parametrize("length", [0, 1, 8, 11, 513, 600, 65535])
def test_a_length_that_no_message_has(length: int) -> None:
    with pytest.raises(Malformed, match=f"a message of {length} bytes"):
        popped(length.to_bytes(2, "big") + pptp.echo_request()[2:])


@pytest.mark.parametrize("at", range(4, 8))
def test_every_byte_of_the_magic_number_counts_as_soon_as_it_is_there(at: int) -> None:
    message = bytearray(pptp.echo_request())
    message[at] ^= 1
    with pytest.raises(Malformed, match="no magic number"):
        popped(bytes(message[: at + 1]))
    assert popped(pptp.echo_request()[: at + 1]) == []


def test_the_first_message_is_for_control_and_others_may_be_of_any_type() -> None:
    other = pptp.message(1, bytes(144), type_=2)
    with pytest.raises(Malformed, match="the first message has type 2"):
        popped(other)
    assert popped(pptp.echo_request() + other)[1] == other
    assert wire.kind_of(other) is None


def test_a_kind_that_nobody_knows_is_none_to_read() -> None:
    """Linux read a table of names past its end for those (2020)."""
    for number in (0, 16, 0xFFFF):
        message = pptp.message(number, b"")
        assert popped(message) == [message] and wire.kind_of(message) is None


def test_what_both_sides_say_of_themselves() -> None:
    assert wire.read_greeting(pptp.start_reply(b"host", b"vendor", 4)) == (b"host", b"vendor", 4)
    assert wire.read_greeting(pptp.start_request(b"h" * 64, b"v" * 64))[:2] == (b"h" * 64, b"v" * 64)


def test_messages_of_ours_are_those_of_the_standard() -> None:
    assert wire.refusal(pptp.outgoing_request(7), 2, 4)[:18] == pptp.outgoing_reply(0, 7, 2, 4)[:18]
    assert wire.refusal(pptp.incoming_request(7), 3, 0)[:18] == pptp.incoming_reply(0, 7, 3)[:18]
    assert wire.refused(pptp.outgoing_reply(1, 7)) == pptp.outgoing_reply(1, 7, 2, 4)
    assert wire.clear(7) == pptp.clear(7)
    assert wire.disconnect(7) == pptp.disconnect(7, result=3)
    for message in (wire.refusal(pptp.outgoing_request(7), 2, 4), wire.refusal(pptp.incoming_request(7), 3, 0)):
        assert popped(message) == [message]


def test_ids_are_exchanged_and_nothing_else() -> None:
    reply = pptp.outgoing_reply(0x1234, 0x5678)
    assert wire.with_id(wire.with_id(reply, wire.CALL_AT, 1), wire.PEERS_CALL_AT, 2) == pptp.outgoing_reply(1, 2)
    assert (wire.call_id(reply), wire.call_id(reply, wire.PEERS_CALL_AT)) == (0x1234, 0x5678)
    assert wire.outcome(pptp.outgoing_reply(1, 2, 5, 6)) == (5, 6)
    assert wire.disconnected_with(pptp.disconnect(1, 3)) == (3, 0)
