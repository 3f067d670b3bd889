"""What a holder says, and what it never says."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from proxy.errors import PinholeError
from proxy.holder import wire
from proxy.holder.wire import Kind, Message, Off

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_nothing_has_come_yet(ends: Ends) -> None:
    assert wire.receive(ends[0]) is None


def test_numbers_come_as_they_were_said(ends: Ends) -> None:
    wire.send(ends[1], Kind.GONE, 7)
    wire.send(ends[1], Kind.OFF, Off.IPSEC)
    assert [wire.receive(ends[0]) for _ in range(2)] == [Message(Kind.GONE, 7, ()), Message(Kind.OFF, 2, ())]


def test_descriptors_come_along_and_no_command_that_is_started_has_them(ends: Ends) -> None:
    wire.send(ends[1], Kind.LINK, 7, (0,))
    message = wire.receive(ends[0])
    assert message is not None
    (descriptor,) = message.descriptors
    assert os.fstat(descriptor) == os.fstat(0)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("said", "descriptors"),
    [
        (b"X" + bytes(7), 1),
        (b"T" + bytes(7), 2),
        (b"G" + bytes(7), 1),
        (b"L" + bytes(7), 2),
        (b"L" + bytes(6), 1),
        (b"L" + bytes(8), 1),
    ],
    ids=["unknown", "two tables", "a descriptor too many", "two links", "short", "long"],
)
def test_what_a_holder_never_says_leaves_no_descriptor_behind(ends: Ends, said: bytes, descriptors: int) -> None:
    socket.send_fds(ends[1], [said], [0] * descriptors)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PinholeError, match="another version"):
        wire.receive(ends[0])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_end_is_one_for_both(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(EOFError):
        wire.receive(ends[0])
    with pytest.raises(EOFError):
        wire.send(ends[0], Kind.GONE, 7)


def test_who_does_not_read_is_as_good_as_gone(ends: Ends) -> None:
    with pytest.raises(EOFError):
        for _ in range(100_000):
            wire.send(ends[1], Kind.GONE, 7)


def test_every_reason_has_a_word() -> None:
    assert wire.WORDS.keys() == set(Off)
    assert struct.calcsize("=c3xI") == 8
