"""TNS packets as clients and listeners send them. Numbers in brackets: sections of what is known of the wire format."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

NEW_DATA = b"(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=203.0.113.7)(PORT=1521))(CONNECT_DATA=(SERVICE_NAME=svc)))"


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    return (8 + len(body)).to_bytes(2, "big") + b"\0\0" + bytes((kind, flags)) + b"\0\0" + body


def data(payload: bytes, flags: int = 0) -> bytes:
    return packet(6, flags.to_bytes(2, "big") + payload)


CONNECT_DATA = (
    b"(DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=203.0.113.7)(PORT=1521))"
    b"(CONNECT_DATA=(SERVICE_NAME=svc)(CID=(PROGRAM=sqlplus)(HOST=pc7)(USER=scott))))"
)


def connect(
    text: bytes = CONNECT_DATA, version: int = 319, offset: int = 74, flags: int = 0, options: int = 0x0C41
) -> bytes:
    """[3] With more than 230 bytes of connect data these follow in a DATA packet."""
    head = bytearray(offset - 8)
    head[0:2] = version.to_bytes(2, "big")
    head[2:4] = b"\x01\x2c"
    head[4:6] = options.to_bytes(2, "big")
    head[16:18] = len(text).to_bytes(2, "big")
    head[18:20] = offset.to_bytes(2, "big")
    if offset >= 74:
        head[65] = 1  # please check urgent data
    if len(text) <= 230:
        return packet(1, bytes(head) + text, flags)
    return packet(1, bytes(head), flags) + data(text)


def accept(version: int = 319, options: int = 0x0C01, flags2: int = 1) -> bytes:
    """[4] and [13]."""
    body = bytearray.fromhex("013f0801200000ff01000000002d0404000000000000000000002000002000000000000000")
    body[0:2] = version.to_bytes(2, "big")
    body[2:4] = options.to_bytes(2, "big")
    body[33:37] = flags2.to_bytes(4, "big")
    return packet(2, bytes(body))


def refuse(code: int = 12514) -> bytes:
    text = f"(DESCRIPTION=(ERR={code})(VSNNUM=318767104)(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))".encode()
    return packet(4, b"\x22\x00" + len(text).to_bytes(2, "big") + text)


RESEND = packet(11, b"")


def address(host: IPv4Address | IPv6Address | str, port: int) -> bytes:
    return f"(ADDRESS=(PROTOCOL=tcp)(HOST={host})(PORT={port}))".encode()


def in_packet(where: bytes) -> bytes:
    """[5] A: the address alone."""
    return packet(5, len(where).to_bytes(2, "big") + where)


def in_packet_with_data(where: bytes) -> bytes:
    """B: with what the client should say there."""
    text = where + b"\0" + NEW_DATA
    return packet(5, len(text).to_bytes(2, "big") + text, flags=2)


def in_two(where: bytes) -> bytes:
    """C: what current servers send."""
    text = where + b"\0" + NEW_DATA
    return packet(5, len(text).to_bytes(2, "big"), flags=2) + data(text, 0x40)


def in_two_without_flag(where: bytes) -> bytes:
    text = where + b"\0" + NEW_DATA
    return packet(5, len(text).to_bytes(2, "big")) + data(text)


def in_two_address_only(where: bytes) -> bytes:
    return packet(5, len(where).to_bytes(2, "big")) + data(where)


def in_three(where: bytes) -> bytes:
    """C, with the text cut over two DATA packets."""
    text = where + b"\0" + NEW_DATA
    return packet(5, len(text).to_bytes(2, "big"), flags=2) + data(text[:20], 0x20) + data(text[20:], 0x40)


def with_length_zero(where: bytes) -> bytes:
    """Of very old servers: the text is all of the next packet."""
    return packet(5, b"\0\0") + data(where)


def with_length_zero_and_redirect(where: bytes) -> bytes:
    return packet(5, b"\0\0") + in_packet(where)


FORMS = (
    in_packet, in_packet_with_data, in_two, in_two_without_flag, in_two_address_only, in_three, with_length_zero,
    with_length_zero_and_redirect,
)  # fmt: skip
