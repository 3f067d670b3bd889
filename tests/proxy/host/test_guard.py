"""The guard without a kernel that does what it says: things that cannot be put back, and listeners that go wrong."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.config import reading
from proxy.errors import NetError
from proxy.host import guard as guard_module
from proxy.host import net
from proxy.host.guard import AT_ONCE, Guard
from proxy.host.link import Link
from proxy.host.passed import connections
from proxy.host.rules import Backend
from proxy.host.standing import Standing

ALL_GONE = ["nft table inet pinhole: missing"]


class Host:
    """What stands, and what was done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.missing: list[str] = []
        self.ups = 0
        self.refuses = False
        self.said: list[str] = []
        self.open: list[Guard | socket.socket] = []
        monkeypatch.setattr(Standing, "missing", lambda _: list(self.missing))
        monkeypatch.setattr(Standing, "needs_looking", False)
        monkeypatch.setattr(net, "up", self.up)
        monkeypatch.setattr(net, "chosen", lambda *_: Backend.NFT)
        monkeypatch.setattr(Guard, "_count_passed", lambda _: None)

    def up(self, *_: Any) -> None:
        self.ups += 1
        if self.refuses:
            raise NetError("nft: no")
        self.missing = []

    def guard(self, keeps: bool = True) -> tuple[Guard, Link]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        guard = Guard(None, reading.default(), None, keeps, self.said.append)
        guard.add(theirs, is_last=True)
        ours.setblocking(False)
        self.open += [guard, ours]
        return guard, Link(ours)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host(monkeypatch)
    yield host
    for each in host.open:
        each.close()


def told(link: Link) -> list[tuple[list[str], str | None]]:
    return [(line["missing"], line.get("by")) for line in link.lines()]


def test_what_is_missing_is_told_put_back_and_told_again(host: Host) -> None:
    guard, link = host.guard()
    guard.look()
    host.missing = ALL_GONE
    guard.look()
    assert told(link) == [([], "others"), (ALL_GONE, None), ([], "guard")]
    assert host.ups == 1


def test_who_only_watches_puts_nothing_back(host: Host) -> None:
    guard, link = host.guard(keeps=False)
    host.missing = ALL_GONE
    guard.look()
    guard.look()
    host.missing = []
    guard.look()
    assert told(link) == [(ALL_GONE, None), ([], "others")]
    assert host.ups == 0


def test_what_cannot_be_put_back_is_said_and_tried_again_later(host: Host) -> None:
    guard, _ = host.guard()
    host.missing, host.refuses = ALL_GONE, True
    before = time.monotonic()
    guard.look()
    after = time.monotonic()
    assert host.said == [f"{ALL_GONE[0]}: cannot be put back: nft: no"]
    assert guard._look_at is not None
    assert before + 1 <= guard._look_at <= after + 1


def test_who_takes_things_away_again_and_again_is_left_to_it_for_a_while(host: Host) -> None:
    guard, link = host.guard()
    for _ in range(AT_ONCE + 5):
        host.missing = ALL_GONE
        guard.look()
    assert host.ups == AT_ONCE
    assert "again and again" in host.said[-1]
    assert told(link)[-1] == (ALL_GONE, None)


def test_it_rests_until_all_stands_again(host: Host) -> None:
    guard, link = host.guard()
    link.wish("rest")
    guard._hear(guard._listeners[0], False)
    host.missing = ALL_GONE
    guard.look()
    assert host.ups == 0
    host.missing = []
    guard.look()
    host.missing = ALL_GONE
    guard.look()
    assert host.ups == 1


@pytest.mark.parametrize("wish", [b"nonsense", b"[]", b'{"wish": "dance"}', b'{"wish": "apply"}', b"\xff"])
def test_a_wish_that_makes_no_sense_is_answered_and_harms_nobody(host: Host, wish: bytes) -> None:
    guard, link = host.guard()
    link.sock.send(wish)
    guard._hear(guard._listeners[0], False)
    (line,) = link.lines()
    assert line["problem"]
    assert host.ups == 0


def test_with_its_last_listener_it_ends(host: Host) -> None:
    guard, link = host.guard()
    link.sock.close()
    guard.serve()


def test_a_listener_that_does_not_read_holds_nobody_up(host: Host) -> None:
    guard, link = host.guard(keeps=False)
    for number in range(2000):
        host.missing = [f"part {number}"]
        guard.look()
    assert len(told(link)) < 2000


def test_the_name_of_a_namespace_is_one_guard_s() -> None:
    with guard_module.entrance(), pytest.raises(NetError, match="another process guards"):
        guard_module.entrance()


# -- what passed unread ------------------------------------------------------------------------------------------------


def attribute(number: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)


def connection(protocol: int, addresses: tuple[bytes, bytes], ports: tuple[int, int]) -> bytes:
    """As ctnetlink tells of a new one; the flag of nested attributes is set as the kernel does."""
    first = 1 if len(addresses[0]) == 4 else 3
    hosts = attribute(first, addresses[0]) + attribute(first + 1, addresses[1])
    numbers = attribute(1, bytes([protocol])) + b"".join(
        attribute(number, port.to_bytes(2)) for number, port in zip((2, 3), ports, strict=True)
    )
    body = attribute(0x8001, attribute(0x8001, hosts) + attribute(0x8002, numbers)) + attribute(3, bytes(4))
    return struct.pack("=IHHII", 20 + len(body), 1 << 8, 0, 0, 0) + b"\2\0\0\0" + body


def test_new_connections_are_read_from_ctnetlink() -> None:
    four = connection(6, (bytes([10, 1, 0, 2]), bytes([192, 0, 2, 2])), (40000, 21))
    six = connection(17, (b"\xfd" + bytes(14) + b"\2", b"\xfd" + bytes(14) + b"\3"), (5060, 5060))
    ping = connection(1, (bytes(4), bytes(4)), (0, 0))
    found = [(protocol, str(client), str(server)) for protocol, client, server in connections(four + ping + six)]
    assert found == [("tcp", "10.1.0.2:40000", "192.0.2.2:21"), ("udp", "[fd00::2]:5060", "[fd00::3]:5060")]


@pytest.mark.parametrize("cut", range(0, 96, 8))
def test_cut_messages_are_no_connections_and_no_error(cut: int) -> None:
    whole = connection(6, (bytes(4), bytes(4)), (1, 2))
    list(connections(whole[:cut]))
