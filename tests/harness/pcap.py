"""Reading captures: just enough to get the two byte streams of each TCP connection, in the order of the packets, and
the datagrams of UDP."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from protocols.contract.addresses import Endpoint, Host, Side

ETHERNET, RAW_IP, LINUX_COOKED = 1, 101, 113
INTERFACE_BLOCK, PACKET_BLOCK = 1, 6
IPV4, IPV6, VLAN, PPPOE = 0x0800, 0x86DD, 0x8100, 0x8864
PPP = {b"\0\x21": IPV4, b"\0\x57": IPV6}
TCP, UDP = 6, 17
FIN, SYN, ACK = 1, 2, 16


@dataclass(frozen=True)
class Segment:
    source: Endpoint
    target: Endpoint
    sequence: int
    acknowledged: int
    flags: int
    data: bytes


@dataclass
class Connection:
    """What each side said, as (side, bytes), in order; bytes empty: that side's end."""

    client: Endpoint
    server: Endpoint
    said: list[tuple[Side, bytes]] = field(default_factory=list)
    is_continued: bool = False
    """What came before is missing: a segment that the other side had, as its acknowledgement says, was not captured."""

    def stream(self, side: Side) -> bytes:
        return b"".join(data for speaker, data in self.said if speaker is side)


class _Direction:
    """Bytes in the order of their sequence numbers, each once: captures hold segments twice and out of order."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._early: dict[int, bytes] = {}
        self._end: int | None = None

    def skip_lost(self, acknowledged: int) -> bool:
        """Whether the other side had something that is not here; then go on behind it."""
        first = min(self._early, default=None)
        if first is None or not self._next < first <= acknowledged:
            return False
        self._next = first
        return True

    def take(self, segment: Segment) -> Iterator[bytes]:
        start = segment.sequence + bool(segment.flags & SYN)
        if segment.data:
            known = self._early.get(start, b"")
            self._early[start] = max(known, segment.data, key=len)
        if segment.flags & FIN:
            self._end = start + len(segment.data)
        yield from self.take_waiting()

    def take_waiting(self) -> Iterator[bytes]:
        """What has waited for something before it."""
        for at in sorted(self._early):
            if at > self._next:
                break
            new = self._early.pop(at)[self._next - at :]
            if new:
                self._next += len(new)
                yield new
        if self._end is not None and self._next >= self._end:
            self._end = None
            yield b""


def connections(path: Path, port: int) -> list[Connection]:
    """The TCP connections to this port, and the parts of those from which something is missing.

    Sequence numbers that wrap are not handled; no capture here has them.
    """
    found: dict[tuple[Endpoint, Endpoint], Connection] = {}
    parts: list[Connection] = []
    directions: dict[tuple[Endpoint, Endpoint], _Direction] = {}
    for segment in _segments(path):
        if port not in (segment.source.port, segment.target.port):
            continue
        side = Side.SERVER if segment.source.port == port else Side.CLIENT
        pair = (segment.source, segment.target) if side is Side.CLIENT else (segment.target, segment.source)
        connection = found.setdefault(pair, Connection(*pair))
        way = segment.source, segment.target
        if way not in directions:
            directions[way] = _Direction(segment.sequence + bool(segment.flags & SYN))
        back = directions.get((segment.target, segment.source))
        if back is not None and segment.flags & ACK and back.skip_lost(segment.acknowledged):
            parts.append(connection)
            connection = found[pair] = Connection(*pair, is_continued=True)
            connection.said += ((side.other, data) for data in back.take_waiting())
        connection.said += ((side, data) for data in directions[way].take(segment))
    return [*parts, *found.values()]


def _segments(path: Path) -> Iterator[Segment]:
    for source, target, protocol, segment in _packets(path):
        if protocol == TCP:
            source_port, target_port, sequence, acknowledged = struct.unpack_from(">HHII", segment)
            header, flags = (segment[12] >> 4) * 4, segment[13]
            ends = Endpoint(source, source_port), Endpoint(target, target_port)
            yield Segment(*ends, sequence, acknowledged, flags, segment[header:])


@dataclass(frozen=True)
class Datagram:
    source: Endpoint
    target: Endpoint
    data: bytes


def datagrams(path: Path, port: int) -> list[Datagram]:
    """The UDP datagrams from and to this port, in their order. Fragments are not joined; no capture here has them."""
    found = []
    for source, target, protocol, datagram in _packets(path):
        if protocol == UDP:
            source_port, target_port = struct.unpack_from(">HH", datagram)
            if port in (source_port, target_port):
                found.append(Datagram(Endpoint(source, source_port), Endpoint(target, target_port), datagram[8:]))
    return found


def _packets(path: Path) -> Iterator[tuple[Host, Host, int, bytes]]:
    """Source, target, protocol, and what IP carries."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for link, frame in _pcapng(data) if data.startswith(b"\n\r\r\n") else _pcap(data):
        packet = _network_layer(link, frame)
        if packet is None:
            continue
        if packet[0] >> 4 == 4:
            start, end = (packet[0] & 15) * 4, int.from_bytes(packet[2:4])
            yield IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[9], packet[start:end]
        else:
            end = 40 + int.from_bytes(packet[4:6])
            yield IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), packet[6], packet[40:end]


def _pcap(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The link type and the bytes of each frame."""
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}[data[:4]]
    link = struct.unpack_from(order + "I", data, 20)[0]
    at = 24
    while at < len(data):
        length = struct.unpack_from(order + "I", data, at + 8)[0]
        yield link, data[at + 16 : at + 16 + length]
        at += 16 + length


def _pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The same of one section of enhanced packet blocks."""
    order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}[data[8:12]]
    links: list[int] = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind == INTERFACE_BLOCK:
            links += struct.unpack_from(order + "H", data, at + 8)
        elif kind == PACKET_BLOCK:
            interface, _, _, captured = struct.unpack_from(order + "IIII", data, at + 8)
            yield links[interface], data[at + 28 : at + 28 + captured]
        at += length


def _network_layer(link: int, frame: bytes) -> bytes | None:
    if link == RAW_IP:
        return frame
    start = {ETHERNET: 14, LINUX_COOKED: 16}[link]
    kind = int.from_bytes(frame[start - 2 : start])
    if kind == VLAN:
        kind, start = int.from_bytes(frame[start + 2 : start + 4]), start + 4
    if kind == PPPOE:
        kind, start = PPP.get(frame[start + 6 : start + 8], 0), start + 8
    return frame[start:] if kind in (IPV4, IPV6) else None
