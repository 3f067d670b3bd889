"""What the kernel says of addresses that go away."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_address

import pytest

from protocols.contract.addresses import Host
from proxy.sockets import watch
from proxy.sockets.watch import AddressWatch, removed
from tests.harness.scarce import no_descriptors
from tests.harness.waiting import until
from tests.proxy.conftest import OURS

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


async def test_an_address_that_cannot_be_looked_for_has_not_gone_until_it_can(
    network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that are known by it would end though it is there."""
    monkeypatch.setattr(watch, "RETURN_SECONDS", 0.01)
    gone: list[Host] = []
    watching = AddressWatch(asyncio.get_running_loop(), gone.append)
    with no_descriptors():
        watching._look(ip_address(OURS))
        watching._look(V4)
    assert gone == []
    await asyncio.to_thread(until, lambda: gone)
    assert gone == [V4]
    watching.close()
