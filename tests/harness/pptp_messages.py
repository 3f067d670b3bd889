"""Messages of PPTP as programs send them, made from RFC 2637 and not by the code that reads them."""

from __future__ import annotations

import struct

MAGIC = 0x1A2B3C4D


def message(kind: int, body: bytes, magic: int = MAGIC, type_: int = 1) -> bytes:
    return struct.pack("!HHIHH", 12 + len(body), type_, magic, kind, 0) + body


def _padded(text: bytes) -> bytes:
    return text.ljust(64, b"\0")


def start_request(host: bytes = b"client", vendor: bytes = b"cananian") -> bytes:
    return message(1, struct.pack("!HHIIHH", 0x100, 0, 1, 1, 1, 1) + _padded(host) + _padded(vendor))


def start_reply(host: bytes = b"server", vendor: bytes = b"linux", result: int = 1) -> bytes:
    return message(2, struct.pack("!HBBIIHH", 0x100, result, 0, 1, 1, 1, 1) + _padded(host) + _padded(vendor))


def stop_request() -> bytes:
    return message(3, struct.pack("!BBH", 1, 0, 0))


def stop_reply() -> bytes:
    return message(4, struct.pack("!BBH", 1, 0, 0))


def echo_request(number: int = 1) -> bytes:
    return message(5, struct.pack("!I", number))


def echo_reply(number: int = 1) -> bytes:
    return message(6, struct.pack("!IBBH", number, 1, 0, 0))


def outgoing_request(call: int) -> bytes:
    numbers = struct.pack("!HHIIIIHHHH", call, 1, 300, 100000000, 3, 3, 64, 0, 0, 0)
    return message(7, numbers + _padded(b"") + _padded(b""))


def outgoing_reply(call: int, peers_call: int, result: int = 1, error: int = 0) -> bytes:
    return message(8, struct.pack("!HHBBHIHHI", call, peers_call, result, error, 0, 100000000, 64, 0, 0))


def incoming_request(call: int) -> bytes:
    numbers = struct.pack("!HHIIHH", call, 1, 3, 0, 0, 0)
    return message(9, numbers + _padded(b"") + _padded(b"") + _padded(b""))


def incoming_reply(call: int, peers_call: int, result: int = 1) -> bytes:
    return message(10, struct.pack("!HHBBHHH", call, peers_call, result, 0, 64, 0, 0))


def incoming_connected(peers_call: int) -> bytes:
    return message(11, struct.pack("!HHIHHI", peers_call, 0, 100000000, 64, 0, 3))


def clear(call: int) -> bytes:
    return message(12, struct.pack("!HH", call, 0))


def disconnect(call: int, result: int = 4) -> bytes:
    return message(13, struct.pack("!HBBHH", call, result, 0, 0, 0) + b"\0" * 128)


def wan_error(peers_call: int) -> bytes:
    return message(14, struct.pack("!HH", peers_call, 0) + b"\0" * 24)


def link_info(peers_call: int) -> bytes:
    return message(15, struct.pack("!HHII", peers_call, 0, 0xFFFFFFFF, 0xFFFFFFFF))


def gre(
    call: int, payload: bytes = b"", sequence: int | None = None, flags: int = 0x2001, protocol: int = 0x880B
) -> bytes:
    """A packet of a tunnel, without its IP header."""
    if sequence is None:
        return struct.pack("!HHHH", flags, protocol, len(payload), call) + payload
    return struct.pack("!HHHHI", flags | 0x1000, protocol, len(payload), call, sequence) + payload
