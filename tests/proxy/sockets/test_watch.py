"""What the kernel says of addresses that go away."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Host
from proxy.sockets.watch import removed

NEW, DEL, ADDRESS, LOCAL, LABEL = 20, 21, 1, 2, 3


def news(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 3)
    for number, data in attributes:
        body += struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


V4, V6 = ip_address("192.0.2.7"), ip_address("2001:db8::7")


@pytest.mark.parametrize(
    ("data", "hosts"),
    [
        (news(DEL, (ADDRESS, V4.packed), (LOCAL, V4.packed), (LABEL, b"wan0\0")), [V4]),
        (news(DEL, (ADDRESS, ip_address("192.0.2.1").packed), (LOCAL, V4.packed)), [V4]),
        (news(DEL, (ADDRESS, V6.packed)), [V6]),
        (news(NEW, (LOCAL, V4.packed)) + news(DEL, (LABEL, b"wan0\0"), (LOCAL, V4.packed)), [V4]),
        (news(NEW, (LOCAL, V4.packed)), []),
        (news(DEL, (LOCAL, b"1")), []),
        (news(DEL), []),
        (news(DEL, (LOCAL, V4.packed))[:-1], []),
        (bytes(40), []),
        (b"", []),
    ],
)
def test_addresses_taken_away_are_read_and_nothing_else(data: bytes, hosts: list[Host]) -> None:
    assert list(removed(data)) == hosts
