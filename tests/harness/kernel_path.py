"""The program of the kernel path as a model in Python, and a namespace in which the real one can be tried.

The model is written from what the program promises, packet in, packet out, and calculates every checksum from its
beginning. It shares with the program the layout of frames, and nothing of how they are changed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proxy.ebpf import layout, program, syscall, tables
from proxy.ebpf.syscall import Trial, Tried
from proxy.ebpf.tables import Address, Row, Rows, Tables

NOT_OURS, REDIRECTED = -1, 7
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
NEXT_MAC = bytes.fromhex("02000000beef")
SUMMED_BY_CARD = 1 << 2
"""BPF_F_TEST_SKB_CHECKSUM_COMPLETE, Linux 6.16: the packet bears the sum that a card has made of it, and afterwards the
kernel compares that with the packet."""
PHONES = {4: "8.0.0.2", 6: "2001:db8:86dd::2"}
"""Packets without a MAC header are tried as if they had one: the type is read from their bytes 12 and 13, which are a
part of the source."""
PLACES = {4: "10.1.0.1", 6: "fd01::1"}
OURS = {4: "192.0.2.1", 6: "2001:db8::1"}
_ALWAYS = (1 << 31) - 1


class Hop(NamedTuple):
    """Where a forwarded packet goes: the address that tells of it, its MTU, and whether its neighbour is known."""

    mtu: int
    is_known: bool = True


HOPS = {
    "192.0.2.2": Hop(1500),
    "192.0.2.3": Hop(1500, is_known=False),
    "198.51.100.7": Hop(1500),  # behind the neighbour
    "203.0.113.7": Hop(700),
    "2001:db8::2": Hop(1500),
    "2001:db8::3": Hop(1500, is_known=False),
    "2001:db8:1::7": Hop(1500),
    "2001:db8:2::7": Hop(1280),
}
UNREACHED = (
    *("203.0.113.200", "192.0.2.1", "10.1.0.1", "224.0.0.5", "127.0.0.1", "10.99.0.1", "192.0.2.255"),
    *("2001:db8:3::7", "2001:db8::1", "fd01::1", "ff02::5", "::1", "fe80::7", "2001:db8:99::1"),
)
"""Nobody to whom a packet would be forwarded: a blackhole, services of this host, groups, and no route at all."""

_SITE = f"""
link set lo up
link add in0 type veth peer name in1
link add out0 type veth peer name out1
addr add 10.1.0.1/24 dev in0
addr add fd01::1/64 dev in0 nodad
addr add 192.0.2.1/24 dev out0
addr add 2001:db8::1/64 dev out0 nodad
link set in0 up
link set in1 up
link set out0 up
link set out1 up
neigh add 192.0.2.2 lladdr {NEXT_MAC.hex(":")} dev out0 nud permanent
neigh add 2001:db8::2 lladdr {NEXT_MAC.hex(":")} dev out0 nud permanent
route add 198.51.100.0/24 via 192.0.2.2
route add 203.0.113.0/25 via 192.0.2.2 mtu lock 700
route add blackhole 203.0.113.128/25
route add 2001:db8:1::/48 via 2001:db8::2
route add 2001:db8:2::/48 via 2001:db8::2 mtu lock 1280
route add blackhole 2001:db8:3::/48
"""
_FORWARDING = ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding")
_NEW_NETWORK = 0x40000000


class Site(NamedTuple):
    """The interface that packets come by, and the one that they leave by."""

    interface: int
    other: int
    mac: bytes
    out_mac: bytes


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A namespace of its own with routes and neighbours as in HOPS."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        for name in _FORWARDING:
            Path("/proc/sys/net", name).write_text("1")
        Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        subprocess.run(("ip", "-batch", "-"), input=_SITE, text=True, check=True)
        yield Site(socket.if_nametoindex("in0"), socket.if_nametoindex("out0"), _mac("in0"), _mac("out0"))
    finally:
        libc.setns(home, _NEW_NETWORK)
        os.close(home)


def _mac(name: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((name, 0))
        return bytes(sock.getsockname()[4])


# -- packets ----------------------------------------------------------------------------------------------------------


def ones_sum(data: bytes) -> int:
    """The ones' complement sum of RFC 1071, from 0 to 0xFFFF; 0 for zeros alone."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    return total % 0xFFFF or (0xFFFF if total else 0)


def checksum(data: bytes) -> int:
    """The checksum that data with a checksum of 0 is to have."""
    return 0xFFFF - ones_sum(data)


def packed(host: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)


def packet(source: Address, to: Address, payload: bytes, hops: int = 64, tos: int = 0) -> bytes:
    """An IP packet with a datagram in it, and right checksums."""
    hosts = packed(source[0]) + packed(to[0])
    length = 8 + len(payload)
    if len(hosts) == 8:
        head = struct.pack("!BBHHHBBH", 0x45, tos, 20 + length, 0x1234, 0x4000, hops, 17, 0) + hosts
        head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    else:
        head = struct.pack("!IHBB", 6 << 28 | tos << 20 | 0x12345, length, 17, hops) + hosts
    udp = struct.pack("!HHHH", source[1], to[1], length, 0) + payload
    right = checksum(pseudo(hosts, length) + udp) or 0xFFFF
    return head + udp[:6] + right.to_bytes(2, "big") + payload


def pseudo(hosts: bytes, length: int) -> bytes:
    """What the checksum of UDP covers besides the datagram. In IPv6 its numbers have more bytes, all 0."""
    return hosts + struct.pack("!HH", 17, length)


# -- the model --------------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """A row as the daemon puts it in."""

    source: Address
    at: Address
    out: Address
    to: Address
    interface: int = 0

    @property
    def version(self) -> int:
        return 6 if ":" in self.source[0] else 4

    @property
    def key(self) -> bytes:
        return packed(self.source[0]) + packed(self.at[0]) + struct.pack("!HH", self.source[1], self.at[1])


class Expected(NamedTuple):
    """What the program is to answer, and the frame that is to come out. `payload` is None for what is not ours."""

    answer: int
    frame: bytes
    payload: int | None = None


class Model:
    """Decides about frames as the program promises. `remembers`: whether a route, once found, is used again."""

    def __init__(self, where: Site, ways: list[Way], has_mac: bool, remembers: bool) -> None:
        self.site, self.has_mac, self.remembers = where, has_mac, remembers
        self.ways = {(way.version, way.key): way for way in ways}
        self.remembered: set[bytes] = set()
        self.is_in_force = True
        """Whether the rows are: they have no lease, or it is not over."""

    def decide(self, frame: bytes) -> Expected:
        """What becomes of this frame, which comes by the site's interface."""
        before = frame[14:] if self.has_mac else frame
        version = {kind: version for version, kind in ETHERTYPES.items()}.get(frame[12:14])
        is_to_us = not self.has_mac or frame[:6] == self.site.mac
        length = whole_datagram(before, version) if version and is_to_us else None
        if version is None or length is None:
            return Expected(NOT_OURS, frame)
        before = before[:length]
        header = 20 if version == 4 else 40
        way = self.ways.get((version, before[12 if version == 4 else 8 : header + 4]))
        if way is None or not self.is_in_force or way.interface not in (0, self.site.interface):
            return Expected(NOT_OURS, frame)
        hop = HOPS.get(way.to[0])
        if hop is None or length > hop.mtu:
            return Expected(NOT_OURS, frame)
        if way.key in self.remembered:
            mac = NEXT_MAC + self.site.out_mac + ETHERTYPES[version]
        else:
            mac = frame[:14] if self.has_mac else bytes(14)
        if self.remembers and hop.is_known:
            self.remembered.add(way.key)
        return Expected(REDIRECTED, mac + rewritten(before, version, way), length - header - 8)


def whole_datagram(data: bytes, version: int) -> int | None:
    """The length of the IP packet, if it is one of UDP that a program can carry."""
    if len(data) < (28 if version == 4 else 48):
        return None
    if version == 4:
        first, _, length, _, fragment, hops, protocol = struct.unpack_from("!BBHHHBB", data)
        if first != 0x45 or fragment & ~0x4000 or protocol != 17 or hops < 2:
            return None
        header = 20
    else:
        first, length, protocol, hops = struct.unpack_from("!IHBB", data)
        length += 40
        if first >> 28 != 6 or protocol != 17 or hops < 2 or data[46:48] == b"\0\0":
            return None
        header = 40
    (datagram,) = struct.unpack_from("!H", data, header + 4)
    return length if datagram >= 8 and datagram == length - header and length <= len(data) else None


def rewritten(before: bytes, version: int, way: Way) -> bytes:
    """The packet with its new addresses and ports, one hop less, and checksums that are as right or wrong as they
    were."""
    hosts = packed(way.out[0]) + packed(way.to[0])
    ports = struct.pack("!HH", way.out[1], way.to[1])
    if version == 4:
        head = before[:8] + bytes((before[8] - 1,)) + before[9:10] + bytes(2) + hosts
        wrong = (ones_sum(before[:20]) - 0xFFFF) % 0xFFFF
        head = head[:10] + ((checksum(head) + wrong) % 0xFFFF).to_bytes(2, "big") + hosts
        old_hosts = before[12:20]
    else:
        head = before[:7] + bytes((before[7] - 1,)) + hosts
        old_hosts = before[8:40]
    old = before[len(head) :]
    if old[6:8] == bytes(2) or (old_hosts, old[:4]) == (hosts, ports):
        return head + ports + old[4:]  # there is no checksum, or nothing that it covers changes
    wrong = (ones_sum(pseudo(old_hosts, len(old)) + old) - 0xFFFF) % 0xFFFF
    udp = ports + old[4:6] + bytes(2) + old[8:]
    right = checksum(pseudo(hosts, len(udp)) + udp)
    return head + udp[:6] + ((right + wrong) % 0xFFFF or 0xFFFF).to_bytes(2, "big") + udp[8:]


# -- the program ------------------------------------------------------------------------------------------------------


class Program:
    """The real program, with these rows."""

    def __init__(
        self, where: Site, ways: list[Way], has_mac: bool = True, remembers: bool = False, is_leased: bool = False
    ) -> None:
        self.site = where
        self.tables: Tables = tables.make_tables(max(len(ways), 8))
        self.rows = Rows(self.tables)
        self.put = {(way.version, way.key): self._row(way) for way in ways}
        ticks = _ALWAYS if remembers else 0
        self.descriptor = program.load(self.tables, has_mac, is_leased, ticks)
        self.trial = Trial(self.descriptor)
        self.summed = Trial(self.descriptor, SUMMED_BY_CARD)

    def _row(self, way: Way) -> Row:
        row = self.rows.put(*way)
        assert row is not None
        return row

    def lease(self, until: int) -> None:
        """Have the rows be in force until then, in nanoseconds of CLOCK_MONOTONIC."""
        struct.pack_into("=Q", self.rows._memory, layout.LEASE_ROW * layout.ROW_BYTES + layout.VALID_UNTIL, until)

    def run(self, frame: bytes, gso: int = 0, is_summed: bool = False) -> Tried:
        """Have the kernel run it on a frame that comes by the site's interface."""
        context = bytearray(syscall.CONTEXT_BYTES)
        struct.pack_into("=I", context, 40, self.site.interface)
        struct.pack_into("=I", context, 176, gso)
        return (self.summed if is_summed else self.trial).run(frame, bytes(context))

    def close(self) -> None:
        os.close(self.descriptor)
        self.rows.close()
        self.tables.close()
