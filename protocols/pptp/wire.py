"""PPTP's control messages as bytes: cut from a stream, read, and written anew with other call ids.

RFC 2637 s.2. All numbers are big-endian, and no message is longer than it says itself (PP9).
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from protocols.contract.addresses import Malformed

HEADER_BYTES = 12
MAX_MESSAGE = 512
"""The longest message that is known has 220 bytes (PP10)."""
CONTROL = 1
"""The type of a message that is read. The other one that is known, for management, has never been used."""
_MAGIC = bytes.fromhex("1a2b3c4d")
_ID = Struct("!H")


class Kind(IntEnum):
    """The control message type, in the words of RFC 2637."""

    START_REQUEST = 1
    START_REPLY = 2
    STOP_REQUEST = 3
    STOP_REPLY = 4
    ECHO_REQUEST = 5
    ECHO_REPLY = 6
    OUTGOING_CALL_REQUEST = 7
    OUTGOING_CALL_REPLY = 8
    INCOMING_CALL_REQUEST = 9
    INCOMING_CALL_REPLY = 10
    INCOMING_CALL_CONNECTED = 11
    CALL_CLEAR_REQUEST = 12
    CALL_DISCONNECT_NOTIFY = 13
    WAN_ERROR_NOTIFY = 14
    SET_LINK_INFO = 15


LEAST = {
    Kind.START_REQUEST: 156,
    Kind.START_REPLY: 156,
    Kind.STOP_REQUEST: 16,
    Kind.STOP_REPLY: 16,
    Kind.ECHO_REQUEST: 16,
    Kind.ECHO_REPLY: 20,
    Kind.OUTGOING_CALL_REQUEST: 168,
    Kind.OUTGOING_CALL_REPLY: 32,
    Kind.INCOMING_CALL_REQUEST: 220,
    Kind.INCOMING_CALL_REPLY: 24,
    Kind.INCOMING_CALL_CONNECTED: 28,
    Kind.CALL_CLEAR_REQUEST: 16,
    Kind.CALL_DISCONNECT_NOTIFY: 148,
    Kind.WAN_ERROR_NOTIFY: 40,
    Kind.SET_LINK_INFO: 24,
}
"""The length of each message. A longer one is read as far as it is known."""

CALL_AT = 12
"""Where a message has the call id of its sender, or the only one that it has."""
PEERS_CALL_AT = 14
"""Where a reply has the call id of the one it answers."""
_RESULT_AT = 16
"""Where a reply to a request for a call has its result, and behind it an error. Call-Disconnect-Notify has both at
`_CODE_AT`."""
_CODE_AT = _START_RESULT_AT = 14
CONNECTED = 1
"""The result of a reply that agrees."""
GENERAL_ERROR, NO_RESOURCE = 2, 4
"""A result, and the error that tells why: this side has no room for one more call."""
NOT_ACCEPTED = 3
"""The result of an Incoming-Call-Reply that refuses."""
ADMIN_SHUTDOWN = 3
"""The result of a Call-Disconnect-Notify: the call was ended by those who run the access concentrator."""


def length_of(data: bytearray) -> int | None:
    """How many bytes the message has that these bytes begin with (PP10). None: too few have come. Raises Malformed."""
    if len(data) < 2:
        return None
    length = int.from_bytes(data[:2], "big")
    if not HEADER_BYTES <= length <= MAX_MESSAGE:
        raise Malformed(f"a message of {length} bytes")
    for at, (octet, wanted) in enumerate(zip(data[4:8], _MAGIC, strict=False), 4):
        if octet != wanted:
            raise Malformed(f"no magic number: octet {at} is {octet:02x}")
    return length


def check(message: bytes, is_first: bool) -> None:
    """Raises Malformed if a message is shorter than its kind can be, or is no control message though its side says
    nothing before it."""
    if is_first and type_of(message) != CONTROL:
        raise Malformed(f"the first message has type {type_of(message)}")
    kind = kind_of(message)
    if kind is not None and len(message) < LEAST[kind]:
        raise Malformed(f"{kind.name} of {len(message)} bytes")


def type_of(message: bytes) -> int:
    """Whether the message is for control or for management."""
    return int.from_bytes(message[2:4], "big")


def kind_of(message: bytes) -> Kind | None:
    """What the message is. None: nobody knows."""
    number = int.from_bytes(message[8:10], "big")
    return Kind(number) if type_of(message) == CONTROL and number in LEAST else None


def call_id(message: bytes, at: int = CALL_AT) -> int:
    """A call id of a message."""
    (number,) = _ID.unpack_from(message, at)
    return int(number)


def with_id(message: bytes, at: int, number: int) -> bytes:
    """The message with another call id there."""
    return message[:at] + _ID.pack(number) + message[at + _ID.size :]


class Outcome(NamedTuple):
    """How something went: 1 is well. The error says more of a result that is a general error."""

    result: int
    error: int


def outcome(reply: bytes) -> Outcome:
    """What a reply to a request for a call says."""
    return Outcome(reply[_RESULT_AT], reply[_RESULT_AT + 1])


def disconnected_with(notify: bytes) -> Outcome:
    """What a Call-Disconnect-Notify says."""
    return Outcome(notify[_CODE_AT], notify[_CODE_AT + 1])


class Greeting(NamedTuple):
    """What a side says of itself when the control connection begins."""

    host: bytes
    vendor: bytes
    result: int
    """Of a reply."""


def read_greeting(message: bytes) -> Greeting:
    """Read a Start-Control-Connection-Request or its reply."""
    host, vendor = message[28:92], message[92:156]
    return Greeting(host.partition(b"\0")[0], vendor.partition(b"\0")[0], message[_START_RESULT_AT])


# -- messages of ours --------------------------------------------------------------------------------------------------


def _message(kind: Kind, body: bytes) -> bytes:
    body = body.ljust(LEAST[kind] - HEADER_BYTES, b"\0")
    header = (HEADER_BYTES + len(body)).to_bytes(2, "big") + CONTROL.to_bytes(2, "big") + _MAGIC
    return header + kind.to_bytes(2, "big") + b"\0\0" + body


def refusal(request: bytes, result: int, error: int) -> bytes:
    """The reply to a request for a call that is not to be, for its sender."""
    is_outgoing = kind_of(request) is Kind.OUTGOING_CALL_REQUEST
    kind = Kind.OUTGOING_CALL_REPLY if is_outgoing else Kind.INCOMING_CALL_REPLY
    return _message(kind, _ID.pack(0) + _ID.pack(call_id(request)) + bytes((result, error)))


def refused(reply: bytes) -> bytes:
    """A reply that agrees, as one that does not, for whoever waits for it."""
    return reply[:_RESULT_AT] + bytes((GENERAL_ERROR, NO_RESOURCE)) + reply[_RESULT_AT + 2 :]


def clear(call: int) -> bytes:
    """A wish that a call end, for its access concentrator. `call`: the id that this one knows the other side by."""
    return _message(Kind.CALL_CLEAR_REQUEST, _ID.pack(call))


def disconnect(call: int) -> bytes:
    """The word that a call has ended, for its network server. `call`: the id that this one knows the other side by."""
    return _message(Kind.CALL_DISCONNECT_NOTIFY, _ID.pack(call) + bytes((ADMIN_SHUTDOWN, 0)))
