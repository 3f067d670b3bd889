"""Bytes on the call signalling and H.245 connections: TPKT (RFC 1006 s.6), and Q.931 as H.225.0 uses it.

03 00 length            TPKT; a length of 4 is a keep-alive without content (HF2)
08 n reference type     Q.931: protocol, call reference, message type                (HF4)
id length content ...   information elements; the first User-User element, 7e, has
                        a length of two octets and holds 05 and H.225.0             (HF5)
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from protocols.contract.addresses import Malformed
from protocols.toolbox.spans import Span

HEADER_BYTES = 4
KEEP_ALIVE = b"\x03\x00\x00\x04"
_VERSION = 3
_PROTOCOL = 8
"""Q.931 user-network call control messages (Q.931 s.4.2)."""
_USER_USER = 0x7E
_X208 = 5
"""The protocol discriminator of user information that is coded in ASN.1 (Q.931 table 4-26)."""
_SINGLE_OCTET = 0x80
"""Information elements from here on are one octet long."""


class Kind(IntEnum):
    """Q.931 message types (table 4-2)."""

    ALERTING = 0x01
    CALL_PROCEEDING = 0x02
    PROGRESS = 0x03
    SETUP = 0x05
    CONNECT = 0x07
    SETUP_ACKNOWLEDGE = 0x0D
    RELEASE_COMPLETE = 0x5A
    FACILITY = 0x62
    NOTIFY = 0x6E
    STATUS_INQUIRY = 0x75
    INFORMATION = 0x7B
    STATUS = 0x7D


def length_of(data: bytearray) -> int | None:
    """How many octets the TPKT packet has that these begin with, however packets are cut or joined (HF3). None: too few
    have come. Raises Malformed."""
    if not data:
        return None
    if data[0] != _VERSION:
        raise Malformed(f"no TPKT: it begins with {data[0]:02x}")
    if len(data) < HEADER_BYTES:
        return None
    length = data[2] << 8 | data[3]
    if length < HEADER_BYTES:  # HF1
        raise Malformed(f"a TPKT of {length} octets")
    return length


class Signal(NamedTuple):
    """A message of Q.931."""

    kind: int
    reference: int | None
    """The call reference. None: it has no octets, so the message is of no call."""
    is_from_callee: bool
    """Whether the flag of the call reference says that the side sends which was called."""
    user: Span | None
    """Where H323-UserInformation stands in the packet. None: there is none (HF6)."""


def read_signal(packet: bytes) -> Signal:
    """Read a packet of the call signalling channel. Raises Malformed."""
    if len(packet) < HEADER_BYTES + 3 or packet[HEADER_BYTES] != _PROTOCOL:
        raise Malformed("no Q.931")
    octets = packet[5] & 0x0F
    at = HEADER_BYTES + 2 + octets
    if len(packet) <= at:
        raise Malformed("Q.931 without a message type")
    value = int.from_bytes(packet[6:at], "big")
    flag = 1 << 8 * octets - 1 if octets else 0
    reference = value & ~flag if octets else None
    return Signal(packet[at], reference, bool(value & flag), _user(packet, at + 1))


def _user(packet: bytes, at: int) -> Span | None:
    """The content of the first User-User element that is H.225.0's. Raises Malformed when an element ends behind the
    packet."""
    end = len(packet)
    while at < end:
        kind = packet[at]
        if kind >= _SINGLE_OCTET:
            at += 1
            continue
        width = 2 if kind == _USER_USER else 1
        begin = at + 1 + width
        at = begin + int.from_bytes(packet[at + 1 : begin], "big")
        if begin > end or at > end:
            raise Malformed(f"information element {kind:02x} ends behind the message")
        if kind == _USER_USER:
            return Span(begin + 1, at) if at > begin and packet[begin] == _X208 else None
    return None


_RELEASED = bytes.fromhex("05 05 c0 06 00 08 91 4a 00 04 38 08 11 00")
"""User information: H323-UserInformation and H323-UU-PDU without options or additions, alternative 5 of the body; a
ReleaseComplete-UUIE with a reason and additions; its protocolIdentifier, 0.0.8.2250.0.4: version 4 of H.225.0;
gatewayResources as the reason; of the additions the first one alone, which is a CallIdentifier without additions."""
_OF_CALLEE = 0x80
"""The flag in the first octet of a call reference: the side sends that was called."""


def release(setup: bytes, call_identifier: bytes) -> bytes:
    """A ReleaseComplete for the call that this packet asks for, as its callee would send one. The call reference has
    one octet at least."""
    user = _RELEASED + call_identifier
    message = bytearray(setup[HEADER_BYTES : HEADER_BYTES + 2 + (setup[5] & 0x0F)])
    message[2] |= _OF_CALLEE
    message += bytes((Kind.RELEASE_COMPLETE, _USER_USER)) + len(user).to_bytes(2, "big") + user
    return _packet(message)


def reject(number: int) -> bytes:
    """An openLogicalChannelReject for this channel: a response, alternative 6 of ResponseMessage; no additions; its
    number less 1; `unspecified` as the cause."""
    message = bytes.fromhex("23 00") + (number - 1).to_bytes(2, "big") + b"\x00"
    return _packet(message)


def _packet(message: bytes | bytearray) -> bytes:
    return bytes((_VERSION, 0)) + (len(message) + HEADER_BYTES).to_bytes(2, "big") + message
