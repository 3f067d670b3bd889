"""What a holder says to its clients: eight bytes, some with descriptors, over a UNIX socket that keeps messages whole.

    T   0 or 1    the descriptors of the tables: the hash for IPv4, the one for IPv6, the rows.
                  1: the rows hold only while the client keeps them (`Rows.keep`)
    L   index     the program is attached to this interface. With a descriptor: the link, which ends with its last one
    G   index     it is attached there no more
    O   why       the program is off: a number of `Off`

A client says nothing: it is there, or it has hung up.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

from proxy.errors import PinholeError

_MESSAGE = struct.Struct("=c3xI")
_MOST_DESCRIPTORS = 3
_DESCRIPTOR_BYTES = array("i").itemsize


class Kind(Enum):
    """What is said."""

    TABLES = b"T"
    LINK = b"L"
    GONE = b"G"
    OFF = b"O"


class Off(IntEnum):
    """Why no media passes in the kernel."""

    REFUSED = 1
    """The kernel takes no program, or gives no memory for it."""
    IPSEC = 2
    """There are IPsec policies, which the program does not know: a packet could leave in clear."""
    MARKS = 3
    """Routing rules ask for a mark, which packets do not have where the program stands."""


WORDS = {Off.REFUSED: "refused_by_kernel", Off.IPSEC: "ipsec_policies", Off.MARKS: "routing_by_mark"}
"""For the log and for programs."""


class Message(NamedTuple):
    """One message, with the descriptors that came with it, which belong to whoever has received it."""

    kind: Kind
    number: int
    descriptors: tuple[int, ...]


_DESCRIPTORS = {Kind.TABLES: (3,), Kind.LINK: (0, 1), Kind.GONE: (0,), Kind.OFF: (0,)}
"""How many come with each."""


def send(sock: socket.socket, kind: Kind, number: int = 0, descriptors: Sequence[int] = ()) -> None:
    """Say one thing. Raises EOFError when the other side is gone, or does not read what was said before."""
    try:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        sock.sendmsg([_MESSAGE.pack(kind.value, number)], rights, socket.MSG_DONTWAIT)
    except OSError as error:
        raise EOFError from error


def receive(sock: socket.socket) -> Message | None:
    """The next message. None: none has come yet. Raises EOFError at the end, and PinholeError when it is none that a
    holder says."""
    room = socket.CMSG_LEN(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
    try:
        # Python's own function for descriptors takes flags and forgets them.
        data, rights, came, _ = sock.recvmsg(_MESSAGE.size + 1, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        raise EOFError from None
    if not data:
        raise EOFError
    descriptors = array("i")
    for level, what, value in rights:
        if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(value[: len(value) - len(value) % _DESCRIPTOR_BYTES])
    try:
        letter, number = _MESSAGE.unpack(data)
        kind = Kind(letter)
        if len(descriptors) not in _DESCRIPTORS[kind] or came & socket.MSG_CTRUNC:
            raise ValueError(letter)
    except (struct.error, ValueError):
        for descriptor in descriptors:
            os.close(descriptor)
        raise PinholeError("the holder is of another version, or there is no descriptor left") from None
    return Message(kind, number, tuple(descriptors))
