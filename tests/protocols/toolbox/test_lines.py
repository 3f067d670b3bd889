from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Side
from protocols.contract.effects import Finish, Outbox, Send
from protocols.toolbox.lines import LineBuffer, LineTooLong, NulInLine


def lines_of(buffer: LineBuffer) -> list[bytes]:
    return list(iter(buffer.pop, None))


@given(st.binary(max_size=300).map(lambda data: data.replace(b"\0", b"\n")), st.lists(st.integers(1, 40)))
def test_lines_are_the_same_however_the_stream_is_cut(data: bytes, lengths: list[int]) -> None:
    buffer, got, at = LineBuffer(1000), [], 0
    for length in [*lengths, len(data)]:
        buffer.push(data[at : at + length])
        at += length
        got += lines_of(buffer)
    assert b"".join(got) + bytes(buffer) == data
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in got)
    assert len(buffer) == len(bytes(buffer))


def test_a_line_keeps_the_end_that_it_came_with() -> None:
    buffer = LineBuffer(100)
    buffer.push(b"one\r\ntwo\n\r\n\nthree")
    assert lines_of(buffer) == [b"one\r\n", b"two\n", b"\r\n", b"\n"]
    assert buffer.pop_rest() == b"three"
    assert not buffer
    assert buffer.pop_rest() == b""


def test_the_longest_line_fits_and_one_byte_more_does_not() -> None:
    buffer = LineBuffer(10)
    buffer.push(b"12345678\r\n")
    assert buffer.pop() == b"12345678\r\n"
    buffer.push(b"123456789\r\n")
    with pytest.raises(LineTooLong):
        buffer.pop()


def test_a_line_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    buffer = LineBuffer(10)
    buffer.push(b"1234567890")
    assert buffer.pop() is None
    buffer.push(b"1")
    with pytest.raises(LineTooLong):
        buffer.pop()


def test_lines_before_one_that_is_too_long_are_still_read() -> None:
    buffer = LineBuffer(10)
    buffer.push(b"first\r\n" + b"x" * 20)
    assert buffer.pop() == b"first\r\n"
    with pytest.raises(LineTooLong):
        buffer.pop()


def test_nul_is_taken_only_behind_cr() -> None:
    buffer = LineBuffer(100)
    buffer.push(b"RETR a\r\0b\r\nRETR a\0b\r\n")
    assert buffer.pop() == b"RETR a\r\0b\r\n"
    with pytest.raises(NulInLine):
        buffer.pop()


def test_nul_in_what_is_left_at_the_end_is_refused() -> None:
    buffer = LineBuffer(100)
    buffer.push(b"\0")
    with pytest.raises(NulInLine):
        buffer.pop_rest()


@pytest.mark.parametrize("size", [1, 65536])
def test_the_work_is_linear_in_the_bytes(size: int) -> None:
    """Far below a second of work; were each byte searched again with every read, it would be many."""
    data = b"\n" * 100_000 if size > 1 else b"x" * 50_000
    buffer = LineBuffer(len(data))
    began = time.process_time()
    count = 0
    for at in range(0, len(data), size):
        buffer.push(data[at : at + size])
        count += len(lines_of(buffer))
    assert count == data.count(b"\n")
    assert time.process_time() - began < 5


def test_effects_stay_in_order_and_neighbouring_sends_are_joined() -> None:
    out = Outbox()
    out.send(Side.SERVER, b"a")
    out.send(Side.SERVER, b"b")
    out.send(Side.CLIENT, b"c")
    out.add(Finish(Side.SERVER))
    out.send(Side.CLIENT, b"d")
    expected = [Send(Side.SERVER, b"ab"), Send(Side.CLIENT, b"c"), Finish(Side.SERVER), Send(Side.CLIENT, b"d")]
    assert out.take() == expected
    assert out.take() == []
