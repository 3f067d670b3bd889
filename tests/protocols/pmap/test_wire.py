"""Records, calls and replies (protocols/pmap/wire.py)."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Malformed
from protocols.pmap import wire
from protocols.pmap.wire import Caller, Record, RecordBuffer, number, read_call, read_reply, record, text
from tests.harness.pmap_messages import GETADDR, address, call, getaddr, getport, in_fragments, machine, port, reply

A_CALL = bytes.fromhex(
    "cbe3e0770000000000000002000186a0000000040000000300000000000000000000000000000000000186a00000000200000003746370000000"
    "000e31302e322e302e322e302e3131310000000000086c69627469727063"
)
"""GETADDR of version 4, as rpcinfo sent it."""


def pushed(*data: bytes, limit: int = 1000) -> RecordBuffer:
    buffer = RecordBuffer(limit)
    for part in data:
        buffer.push(part)
    return buffer


# -- records -----------------------------------------------------------------------------------------------------------


def test_a_record_has_fragments_and_what_it_says_is_all_of_them() -> None:
    raw = in_fragments(b"abcdefgh", 0, 3, 0, 4)
    assert pushed(raw).pop() == Record(raw, b"abcdefgh")


def test_records_have_nothing_to_do_with_segments() -> None:
    first, second = record(b"first"), in_fragments(b"second", 2)
    buffer = pushed(first + second[:5])
    assert buffer.pop() == Record(first, b"first")
    assert buffer.pop() is None
    for at in range(5, len(second)):
        buffer.push(second[at : at + 1])
    assert buffer.pop() == Record(second, b"second")
    assert (buffer.pop(), len(buffer)) == (None, 0)


@pytest.mark.parametrize(
    "data",
    [record(bytes(1001)), b"\x7f\xff\xff\xff", b"GET / HTTP/1.1", in_fragments(bytes(1001), 500), bytes(4) * 300],
    ids=["long", "longest", "http", "in_two", "empty_fragments"],
)
def test_one_that_is_too_long_or_in_too_many_pieces_is_none(data: bytes) -> None:
    """PM42: as soon as its marks say so."""
    with pytest.raises(Malformed, match="a record of more than"):
        pushed(data).pop()


def test_the_longest_one_is_read() -> None:
    assert pushed(record(bytes(1000))).pop() == Record(record(bytes(1000)), bytes(1000))
    assert pushed(bytes(4) * (wire.MAX_FRAGMENTS - 1) + record(b"x")).pop() is not None


# -- XDR ---------------------------------------------------------------------------------------------------------------


def test_what_the_padding_holds_is_not_judged() -> None:
    """PM2."""
    reader = wire.Reader(number(5) + b"abcde\xff\xff\xff" + number(9))
    assert (reader.text(), reader.number()) == (b"abcde", 9)


@pytest.mark.parametrize("data", [b"", b"\0\0\0", number(4) + b"abc", number(5) + b"abcde", number(2**32 - 1)])
def test_a_text_that_is_not_whole_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        wire.Reader(data).text()


def test_a_text_has_a_bound() -> None:
    longest = wire.MAX_STRING_BYTES
    assert len(wire.Reader(text(bytes(longest))).text()) == longest
    with pytest.raises(Malformed, match="a text of 1025 bytes"):
        wire.Reader(text(bytes(longest + 1))).text()


# -- calls and replies -------------------------------------------------------------------------------------------------


def test_a_call_of_a_real_client() -> None:
    head = read_call(A_CALL)
    assert (head.xid, head.program, head.version, head.procedure) == (0xCBE3E077, 100000, 4, GETADDR)
    assert (head.arguments, wire.caller(head)) == (40, None)


def test_who_the_credentials_name_is_read_if_it_can_be() -> None:
    """PM7."""
    assert wire.caller(read_call(call(2, 0, credentials=machine(b"desk", 1000)))) == Caller(b"desk", 1000)
    short = number(1) + text(number(1) + number(200))
    assert wire.caller(read_call(call(2, 0, credentials=short))) is None


def test_credentials_have_a_bound() -> None:
    longest = number(5) + text(bytes(wire.MAX_AUTH_BYTES))
    assert read_call(call(2, 0, credentials=longest)).arguments == 40 + wire.MAX_AUTH_BYTES
    with pytest.raises(Malformed):
        read_call(call(2, 0, credentials=number(5) + text(bytes(wire.MAX_AUTH_BYTES + 1))))


@pytest.mark.parametrize(
    "data",
    [b"", getport()[:39], port(1), getport()[:8] + number(3) + getport()[12:]],
    ids=["empty", "short", "reply", "version_3"],
)
def test_what_is_no_call(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_call(data)
    assert not wire.is_call(data)


def test_the_first_bytes_of_a_datagram_say_whether_it_may_be_a_call() -> None:
    assert wire.is_call(getport()) and wire.is_call(getaddr()) and wire.is_call(A_CALL)


def test_a_reply_may_be_denied_or_fail() -> None:
    assert read_reply(number(7) + number(1) + number(1) + number(0)).is_success is False
    assert read_reply(reply(status=1)).is_success is False
    head = read_reply(address(b"x"))
    assert (head.xid, head.is_success, head.results, head.verifier) == (7, True, 24, b"")


@pytest.mark.parametrize("data", [b"", port(1)[:20], getport(), number(7) + number(1) + number(2)])
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_reply(data)


def test_a_reply_of_ours_is_read_by_others_as_it_was_meant() -> None:
    head = read_reply(wire.reply(9, wire.Status.SUCCESS, number(0)))
    assert (head.xid, head.is_success, head.results) == (9, True, 24)
    assert not read_reply(wire.reply(9, wire.Status.SYSTEM_ERROR)).is_success
