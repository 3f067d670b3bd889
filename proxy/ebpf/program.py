# SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
#
# This file, unlike the rest of pinhole, is also offered under the MIT licence or version 2 of the GNU General Public
# License (see LICENSE): the kernel lends its routing table only to programs that say that they are compatible with it.
"""The program that carries settled streams. It runs for each packet that comes in by an interface, before netfilter.

A packet of UDP whose addresses and ports are in the tables (`layout.py`) goes on with other ones, by the route that a
forwarded packet would take, and is counted. All other packets go on as if the program were not there; so does one that
only a socket can serve: a fragment, one with options or extension headers, one at the end of its hops, one longer than
the path's MTU. In a row's packet nothing changes but addresses, ports, hops, and the checksums that cover them: an
incremental update (RFC 1624) leaves a wrong checksum wrong.

    headers -> key -> row -> lease? -> route remembered? --yes--------------> rewrite -> MAC header -> redirect
                                             '--no--> look-up, remembered --> rewrite -> redirect by neighbour

1. A row says what to write into a packet, never where to send it. That is asked of the kernel, which knows what may be
   forwarded and where to; its answer is remembered for a second in a table that only this program has. So no row,
   whoever wrote it, leads to a service of this host: to the kernel that would be local delivery, and not forwarding.
2. The packet that asks for the route is handed to the kernel's neighbour (ARP, ND), which so keeps looking after its
   entry. Those of the next second bear the addresses that were found with the route.
3. A row compares itself with the packet: the hash table may have led to it by an element that was just used anew.
4. Checksums are changed by the kernel, which alone knows of those that a card is still to finish (CHECKSUM_PARTIAL), or
   has already summed up (CHECKSUM_COMPLETE).

Links without a MAC header (tun, PPP, WireGuard) have a form of their own, which puts an Ethernet header before the
packet: the kernel redirects nothing without one, and takes it off again where it is not wanted.

Functions of the kernel that are called, with the version that they came with: `map_lookup_elem` 3.19,
`skb_store_bytes` 4.1, `l4_csum_replace` 4.1, `redirect` 4.4, `skb_change_tail` 4.9, `skb_pull_data` 4.9, `csum_update`
4.9, `skb_change_head` 4.10, `fib_lookup` 4.18 (which tells the MTU from 5.12 on), `redirect_neigh` 5.10,
`ktime_get_coarse_ns` 5.11. Of `struct __sk_buff`, `gso_size` is the newest field, 5.7. There is no loop, no call within
the program, no type information (BTF), and all memory is written before it is read, so CAP_PERFMON is not needed.
"""

from __future__ import annotations

import os
import socket
from typing import NamedTuple

from proxy.ebpf import layout, syscall
from proxy.ebpf.assembler import Assembler, Register
from proxy.ebpf.syscall import ARRAY, Shape
from proxy.ebpf.tables import Tables

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register
_CONTEXT, _ROW, _ROUTE, _LENGTH, _STACK = R6, R7, R8, R9, R10
"""What the registers hold that a call leaves alone. The length is that of the IP packet."""

NOT_OURS, DROPPED, REDIRECTED = -1, 2, 7
"""What the program answers: TCX_NEXT or TC_ACT_UNSPEC, TCX_DROP or TC_ACT_SHOT, TCX_REDIRECT or TC_ACT_REDIRECT. tcx
and clsact use the same numbers."""

_LICENCE = "Dual MIT/GPL"

# Functions of the kernel (enum bpf_func_id).
_MAP_LOOKUP, _STORE_BYTES, _L4_CSUM_REPLACE, _REDIRECT, _CHANGE_TAIL, _PULL_DATA = 1, 9, 11, 23, 38, 39
_CSUM_UPDATE, _CHANGE_HEAD, _FIB_LOOKUP, _REDIRECT_NEIGH, _KTIME_GET_COARSE_NS = 40, 43, 69, 152, 160
_PSEUDO_HEADER, _MANGLED_0 = 1 << 4, 1 << 5
"""Flags of l4_csum_replace: the sum is of addresses; a checksum of 0 stays what it is, and none becomes 0."""

# Fields of struct __sk_buff.
_LEN, _PKT_TYPE, _PROTOCOL, _VLAN_PRESENT, _PRIORITY, _IFINDEX, _DATA, _DATA_END = 0, 4, 16, 20, 32, 40, 76, 80
_GSO_SIZE = 176

_ETHERNET_BYTES = 14
_UDP_BYTES, _UDP_LENGTH, _UDP_CHECKSUM = 8, 4, 6
_MORE_THAN_DONT_FRAGMENT = 0xFFBF
"""The bits of the fragment word, as the machine reads it, that are 0 in a whole packet."""

# The stack, from its end down.
_INDEX = -4  # the number of the row
_KEY = -40
_FIB = -104  # struct bpf_fib_lookup, 64 bytes
_NEXT_HOP = -124  # struct bpf_redir_neigh, 20 bytes
_WORD = -164  # hops and what stands beside them, then addresses and ports: what is written into the packet
_NOW = -176
_MAC = -192  # the Ethernet header
_TOS = -196
_OUT = -200  # index of the interface
_ZERO = -204

# struct bpf_fib_lookup
_FIB_FAMILY, _FIB_PORTS, _FIB_LENGTH, _FIB_IFINDEX, _FIB_TOS, _FIB_SOURCE = 0, 2, 6, 8, 12, 16
_FIB_DESTINATION, _FIB_REST, _FIB_OWN_MAC, _FIB_NEXT_MAC = 32, 48, 52, 58
_FIB_BYTES, _NEXT_HOP_BYTES = 64, 20
_FOUND, _NO_NEIGHBOUR = 0, 7

# A route as it is remembered: when, in ticks (0: not); the interface; both MAC addresses; the MTU.
_WHEN, _ROUTE_OUT, _MACS, _MTU, _ROUTE_BYTES = 0, 4, 8, 20, 32

_PRIORITIES = 0x04060200
"""The bytes are the priorities TC_PRIO_* of a packet whose TOS & 0x18 is 0, 8, 16 and 24 (ip_tos2prio), from the lowest
on. A router sets them for queues that look at nothing else."""


class _Version(NamedTuple):
    """What is different between IPv4 and IPv6."""

    number: int
    family: int
    ethertype: int
    """As the machine reads it."""
    header: int
    """Bytes of the IP header."""
    hosts_at: int
    host: int
    """Bytes of an address."""


_FOUR = _Version(4, socket.AF_INET, 0x0008, 20, 12, 4)
_SIX = _Version(6, socket.AF_INET6, 0xDD86, 40, 8, 16)


def load(
    tables: Tables, has_mac: bool, is_leased: bool = False, remembered_ticks: int = layout.REMEMBERED_TICKS
) -> int:
    """Load the program for these tables, and return its descriptor. It may be attached to several interfaces.

    `has_mac`: for links with an Ethernet header (ARPHRD_ETHER), or for those without any. `is_leased`: the rows are in
    force only as long as their owner calls `Rows.keep`; otherwise as long as the program is attached. Needs CAP_BPF and
    CAP_NET_ADMIN. Raises OSError; if the verifier refuses the program, with its last words.
    """
    entries = syscall.shape(tables.rows).entries
    routes = syscall.make_table(Shape(ARRAY, layout.NUMBER_BYTES, _ROUTE_BYTES, entries, 0, "pinhole_routes"))
    try:
        program = _Program(tables, routes, has_mac, is_leased, remembered_ticks).assemble()
        return syscall.load_program("pinhole", program, _LICENCE)
    finally:
        os.close(routes)  # the program has it


class _Program:
    """Writes the instructions, for one kind of link."""

    def __init__(self, tables: Tables, routes: int, has_mac: bool, is_leased: bool, remembered_ticks: int) -> None:
        self._tables = tables
        self._routes = routes
        self._has_mac = has_mac
        self._is_leased = is_leased
        self._remembered_ticks = remembered_ticks
        self._ip = _ETHERNET_BYTES if has_mac else 0
        """Where the IP header begins."""
        self._asm = Assembler()

    def assemble(self) -> bytes:
        """All instructions."""
        asm = self._asm
        asm.set(_CONTEXT, R1)
        asm.load(4, R2, _CONTEXT, _PROTOCOL)
        for version in (_FOUR, _SIX):
            asm.jump_if(R2, "==", version.ethertype, f"{version.number}")
        asm.label("not ours")
        asm.set(R0, NOT_OURS)
        asm.exit()
        asm.label("drop")
        asm.set(R0, DROPPED)
        asm.exit()
        for version in (_FOUR, _SIX):
            asm.label(f"{version.number}")
            self._reach_headers(version)
            if version is _FOUR:
                self._check_header_4()
            else:
                self._check_header_6()
            self._check_lengths(version)
            self._find_row(version)
            self._check_way()
            self._find_route(version)
        return asm.assemble()

    # -- is it ours ---------------------------------------------------------------------------------------------------

    def _reach_headers(self, version: _Version) -> None:
        """R1 is where the packet begins, and its headers can be read from there. In memory a packet may have only its
        beginning in one piece, and even less than its headers."""
        asm, need, reached = self._asm, self._ip + version.header + _UDP_BYTES, self._asm.new_label()
        self._load_packet(need)
        asm.jump_if(R3, "<=", R2, reached)
        asm.set(R1, _CONTEXT)
        asm.set(R2, need)
        asm.call(_PULL_DATA)
        asm.jump_if(R0, "!=", 0, "not ours")
        self._load_packet(need)
        asm.jump_if(R3, ">", R2, "not ours")
        asm.label(reached)

    def _load_packet(self, need: int) -> None:
        """R1 is the packet, R2 is its end, R3 is where the headers end."""
        asm = self._asm
        asm.load(4, R1, _CONTEXT, _DATA)
        asm.load(4, R2, _CONTEXT, _DATA_END)
        asm.set(R3, R1)
        asm.calculate(R3, "+", need)

    def _check_header_4(self) -> None:
        """A whole packet of UDP without options, which may go on."""
        asm, ip = self._asm, self._ip
        asm.load(1, R2, R1, ip)
        asm.jump_if(R2, "!=", 0x45, "not ours")
        asm.load(2, R2, R1, ip + 6)
        asm.calculate(R2, "&", _MORE_THAN_DONT_FRAGMENT)
        asm.jump_if(R2, "!=", 0, "not ours")
        asm.load(1, R2, R1, ip + 9)
        asm.jump_if(R2, "!=", socket.IPPROTO_UDP, "not ours")
        asm.load(1, R2, R1, ip + 8)
        asm.jump_if(R2, "<=", 1, "not ours")
        asm.load(1, R2, R1, ip + 1)
        asm.store(4, _STACK, _TOS, R2)
        asm.copy((_STACK, _WORD), (R1, ip + 8), (4,))
        asm.load(2, _LENGTH, R1, ip + 2)
        asm.from_network(_LENGTH)

    def _check_header_6(self) -> None:
        """The same, with UDP right behind the IPv6 header. UDP without a checksum is nothing that IPv6 has (RFC 8200
        s.8.1), and only the kernel knows who wants it nevertheless."""
        asm, ip = self._asm, self._ip
        asm.load(1, R2, R1, ip)
        asm.calculate(R2, "&", 0xF0)
        asm.jump_if(R2, "!=", 0x60, "not ours")
        asm.load(1, R2, R1, ip + 6)
        asm.jump_if(R2, "!=", socket.IPPROTO_UDP, "not ours")
        asm.load(1, R2, R1, ip + 7)
        asm.jump_if(R2, "<=", 1, "not ours")
        asm.load(2, R2, R1, ip + 40 + _UDP_CHECKSUM)
        asm.jump_if(R2, "==", 0, "not ours")
        asm.load(4, R2, R1, ip)
        asm.calculate(R2, "&", -0xF1)  # traffic class and flow label, without the version
        asm.store(4, _STACK, _TOS, R2)
        asm.copy((_STACK, _WORD), (R1, ip + 4), (4,))
        asm.load(2, _LENGTH, R1, ip + 4)
        asm.from_network(_LENGTH)
        asm.calculate(_LENGTH, "+", 40)
        asm.jump_if(_LENGTH, ">", 0xFFFF, "not ours")

    def _check_lengths(self, version: _Version) -> None:
        """UDP fills the IP packet, of which nothing is missing. What is shorter has something behind it that a socket
        would cut off."""
        asm = self._asm
        asm.load(2, R2, R1, self._ip + version.header + _UDP_LENGTH)
        asm.from_network(R2)
        asm.jump_if(R2, "<", _UDP_BYTES, "not ours")
        asm.calculate(R2, "+", version.header)
        asm.jump_if(R2, "!=", _LENGTH, "not ours")
        asm.calculate(R2, "+", self._ip)
        asm.load(4, R3, _CONTEXT, _LEN)
        asm.jump_if(R2, ">", R3, "not ours")

    def _find_row(self, version: _Version) -> None:
        """The row of the packet's addresses and ports, which has to say the same."""
        asm, hosts = self._asm, 2 * version.host
        asm.copy((_STACK, _KEY), (R1, self._ip + version.hosts_at), (4,) * (hosts // 4))
        asm.copy((_STACK, _KEY + hosts), (R1, self._ip + version.header), (4,))
        self._look_up(self._tables.four if version is _FOUR else self._tables.six, _KEY)
        asm.copy((_STACK, _INDEX), (R0, 0), (4,))
        self._look_up(self._tables.rows, _INDEX)
        asm.set(_ROW, R0)
        pieces = [(8, layout.BEFORE[version.number] + at, _KEY + at) for at in range(0, hosts, 8)]
        for width, in_row, in_key in (*pieces, (4, layout.PORTS_BEFORE, _KEY + hosts)):
            asm.load(width, R1, _ROW, in_row)
            asm.load(width, R2, _STACK, in_key)
            asm.jump_if(R1, "!=", R2, "not ours")

    def _look_up(self, table: int, key: int) -> None:
        """R0 is the value of the key at that place of the stack."""
        asm = self._asm
        asm.table(R1, table)
        self._stack_address(R2, key)
        asm.call(_MAP_LOOKUP)
        asm.jump_if(R0, "==", 0, "not ours")

    def _stack_address(self, to: Register, offset: int) -> None:
        self._asm.set(to, _STACK)
        self._asm.calculate(to, "+", offset)

    def _check_way(self) -> None:
        """It came by the interface that its stream comes by, was sent to this host, and is one packet. One with a tag
        is for an interface of its VLAN, and is looked at there."""
        asm, same = self._asm, self._asm.new_label()
        asm.load(4, R1, _ROW, layout.INTERFACE)
        asm.jump_if(R1, "==", 0, same)
        asm.load(4, R2, _CONTEXT, _IFINDEX)
        asm.jump_if(R1, "!=", R2, "not ours")
        asm.label(same)
        for field in (_VLAN_PRESENT, _GSO_SIZE, _PKT_TYPE) if self._has_mac else (_GSO_SIZE,):
            asm.load(4, R1, _CONTEXT, field)
            asm.jump_if(R1, "!=", 0, "not ours")

    # -- where it goes ------------------------------------------------------------------------------------------------

    def _find_route(self, version: _Version) -> None:
        """By the remembered route, or else by the kernel's; and on."""
        asm, ask = self._asm, self._asm.new_label()
        asm.call(_KTIME_GET_COARSE_NS)
        asm.store(8, _STACK, _NOW, R0)
        if self._is_leased:
            self._check_lease()
        self._look_up(self._routes, _INDEX)
        asm.set(_ROUTE, R0)
        asm.load(8, R3, _STACK, _NOW)
        asm.calculate(R3, ">>", layout.TICK_BITS)
        asm.calculate_32(R3, "|", 1)  # 0 is for a route that is not known
        asm.store(4, _STACK, _NOW, R3)
        asm.load(4, R2, _ROUTE, _WHEN)
        asm.jump_if(R2, "==", 0, ask)
        asm.calculate_32(R3, "-", R2)
        asm.jump_if(R3, ">=", self._remembered_ticks, ask)
        asm.load(2, R3, _ROUTE, _MTU)
        asm.jump_if(_LENGTH, ">", R3, "not ours")
        asm.copy((_STACK, _OUT), (_ROUTE, _ROUTE_OUT), (4,))
        asm.copy((_STACK, _MAC), (_ROUTE, _MACS), (8, 4))
        asm.store(2, _STACK, _MAC + 12, version.ethertype)
        # Another processor writes the time first as 0, and as it is when all else is written.
        asm.load(4, R3, _ROUTE, _WHEN)
        asm.jump_if(R3, "!=", R2, ask)
        self._rewrite(version)
        self._send_remembered()
        asm.label(ask)
        self._ask_for_route(version)
        self._rewrite(version)
        self._send_to_neighbour()

    def _check_lease(self) -> None:
        """The owner of the rows is alive, or was just now."""
        asm = self._asm
        asm.store(4, _STACK, _ZERO, layout.LEASE_ROW)
        self._look_up(self._tables.rows, _ZERO)
        asm.load(8, R1, R0, layout.VALID_UNTIL)
        asm.load(8, R2, _STACK, _NOW)
        asm.jump_if(R2, ">", R1, "not ours")

    def _ask_for_route(self, version: _Version) -> None:
        """Ask how the packet would be forwarded with its new addresses, and remember what the kernel says."""
        asm, unknown = self._asm, self._asm.new_label()
        after = layout.AFTER[version.number]
        asm.store(2, _STACK, _FIB + _FIB_FAMILY, version.family | socket.IPPROTO_UDP << 8)
        asm.copy((_STACK, _FIB + _FIB_PORTS), (_ROW, layout.PORTS_AFTER), (2, 2))
        asm.store(2, _STACK, _FIB + _FIB_LENGTH, _LENGTH)
        asm.copy((_STACK, _FIB + _FIB_IFINDEX), (_CONTEXT, _IFINDEX), (4,))
        asm.copy((_STACK, _FIB + _FIB_TOS), (_STACK, _TOS), (4,))
        for field, host in ((_FIB_SOURCE, after), (_FIB_DESTINATION, after + version.host)):
            asm.copy((_STACK, _FIB + field), (_ROW, host), (4,) * (version.host // 4))
            for at in range(version.host, 16, 4):
                asm.store(4, _STACK, _FIB + field + at, 0)
        for at in range(_FIB_REST, _FIB_BYTES, 8):
            asm.store(8, _STACK, _FIB + at, 0)
        asm.set(R1, _CONTEXT)
        self._stack_address(R2, _FIB)
        asm.set(R3, _FIB_BYTES)
        asm.set(R4, 0)
        asm.call(_FIB_LOOKUP)
        asm.jump_if(R0, "==", _NO_NEIGHBOUR, unknown)
        asm.jump_if(R0, "!=", _FOUND, "not ours")
        asm.store(4, _ROUTE, _WHEN, 0)
        asm.copy((_ROUTE, _ROUTE_OUT), (_STACK, _FIB + _FIB_IFINDEX), (4,))
        asm.copy((_ROUTE, _MTU), (_STACK, _FIB + _FIB_LENGTH), (2,))
        asm.copy((_ROUTE, _MACS), (_STACK, _FIB + _FIB_NEXT_MAC), (2, 2, 2))
        asm.copy((_ROUTE, _MACS + 6), (_STACK, _FIB + _FIB_OWN_MAC), (2, 2, 2))
        asm.copy((_ROUTE, _WHEN), (_STACK, _NOW), (4,))
        asm.label(unknown)

    def _send_remembered(self) -> None:
        asm = self._asm
        self._write_packet(0, _MAC, _ETHERNET_BYTES)
        asm.load(4, R1, _STACK, _OUT)
        asm.set(R2, 0)
        asm.call(_REDIRECT)
        asm.exit()

    def _send_to_neighbour(self) -> None:
        """The next hop is in the place of the destination now, and may be of the other IP version."""
        asm = self._asm
        asm.load(1, R1, _STACK, _FIB + _FIB_FAMILY)
        asm.store(4, _STACK, _NEXT_HOP, R1)
        asm.copy((_STACK, _NEXT_HOP + 4), (_STACK, _FIB + _FIB_DESTINATION), (8, 8))
        asm.load(4, R1, _STACK, _FIB + _FIB_IFINDEX)
        self._stack_address(R2, _NEXT_HOP)
        asm.set(R3, _NEXT_HOP_BYTES)
        asm.set(R4, 0)
        asm.call(_REDIRECT_NEIGH)
        asm.exit()

    # -- what becomes of it -------------------------------------------------------------------------------------------

    def _rewrite(self, version: _Version) -> None:
        """Write the new addresses and ports, one hop less, and the checksums. Until the first byte is written the
        packet may still go on as it came; then it is dropped if the kernel has no memory for the rest. Whatever the
        link, an Ethernet header stands before the packet in the end."""
        asm = self._asm
        self._trim()
        if not self._has_mac:
            asm.set(R1, _CONTEXT)
            asm.set(R2, _ETHERNET_BYTES)
            asm.set(R3, 0)
            asm.call(_CHANGE_HEAD)
            asm.jump_if(R0, "!=", 0, "not ours")
        self._change_udp_checksum(version)
        asm.load(4, R1, _STACK, _WORD)
        if version is _FOUR:
            self._next_hop_4()
        else:
            asm.calculate(R1, "-", 1 << 24)
        asm.store(4, _STACK, _WORD, R1)
        after, hosts = layout.AFTER[version.number], 2 * version.host
        asm.copy((_STACK, _WORD + 4), (_ROW, after), (8,) * (hosts // 8))
        asm.copy((_STACK, _WORD + 4 + hosts), (_ROW, layout.PORTS_AFTER), (4,))
        self._write_packet(_ETHERNET_BYTES + version.hosts_at - 4, _WORD, 4 + hosts + 4)
        if version is _FOUR:
            self._set_priority()
        else:
            self._change_sum_6()
        asm.set(R1, _LENGTH)
        asm.calculate(R1, "-", version.header + _UDP_BYTES)
        asm.add_to_memory(_ROW, layout.BYTES, R1)
        asm.set(R1, 1)
        asm.add_to_memory(_ROW, layout.PACKETS, R1)

    def _trim(self) -> None:
        """Cut off what fills up a short frame, as a router does."""
        asm, trimmed = self._asm, self._asm.new_label()
        asm.load(4, R1, _CONTEXT, _LEN)
        asm.set(R2, _LENGTH)
        asm.calculate(R2, "+", self._ip)
        asm.jump_if(R1, "==", R2, trimmed)
        asm.set(R1, _CONTEXT)
        asm.set(R3, 0)
        asm.call(_CHANGE_TAIL)
        asm.jump_if(R0, "!=", 0, "not ours")
        asm.label(trimmed)

    def _change_udp_checksum(self, version: _Version) -> None:
        asm, at = self._asm, _ETHERNET_BYTES + version.header + _UDP_CHECKSUM
        same_hosts, same_ports = asm.new_label(), asm.new_label()
        asm.load(4, R4, _ROW, layout.SUM)
        asm.jump_if(R4, "==", 0, same_hosts)
        asm.set(R3, 0)
        self._replace_sum(at, _PSEUDO_HEADER | _MANGLED_0)
        asm.label(same_hosts)
        asm.load(4, R3, _ROW, layout.PORTS_BEFORE)
        asm.load(4, R4, _ROW, layout.PORTS_AFTER)
        asm.jump_if(R3, "==", R4, same_ports)
        self._replace_sum(at, _MANGLED_0 | 4)  # words of four bytes, before and after; above it was a difference
        asm.label(same_ports)

    def _replace_sum(self, at: int, flags: int) -> None:
        """Have R3 replaced by R4 in the checksum that stands there."""
        asm = self._asm
        asm.set(R1, _CONTEXT)
        asm.set(R2, at)
        asm.set(R5, flags)
        asm.call(_L4_CSUM_REPLACE)
        asm.jump_if(R0, "!=", 0, "drop")

    def _next_hop_4(self) -> None:
        """R1 has TTL, protocol and checksum, from the lowest byte on: one hop less, and the checksum for that and for
        the new addresses (RFC 1624, equation 3)."""
        asm = self._asm
        asm.set(R2, R1)
        asm.calculate(R2, ">>", 16)
        asm.calculate(R2, "^", 0xFFFF)
        asm.load(4, R3, _ROW, layout.SUM)
        asm.calculate(R2, "+", R3)
        asm.calculate(R2, "+", 0xFFFF - 1)
        for _ in range(2):
            asm.set(R3, R2)
            asm.calculate(R3, ">>", 16)
            asm.calculate(R2, "&", 0xFFFF)
            asm.calculate(R2, "+", R3)
        asm.calculate(R2, "^", 0xFFFF)
        asm.calculate(R2, "<<", 16)
        asm.calculate(R1, "-", 1)
        asm.calculate(R1, "&", 0xFFFF)
        asm.calculate(R1, "|", R2)

    def _change_sum_6(self) -> None:
        """What a card has summed up begins with the IP header, which has no checksum of its own that would make up for
        what was changed there. For the addresses l4_csum_replace has subtracted their difference, as it is right for
        IPv4, so it is added again. Where there is no such sum, the kernel refuses, and nothing is to be done."""
        asm = self._asm
        asm.load(4, R2, _ROW, layout.SUM)
        asm.calculate(R2, "+", 0xFFFF - 0x0100)
        asm.set(R1, _CONTEXT)
        asm.call(_CSUM_UPDATE)

    def _set_priority(self) -> None:
        asm = self._asm
        asm.load(4, R1, _STACK, _TOS)
        asm.calculate(R1, "&", 0x18)
        asm.set(R2, _PRIORITIES)
        asm.calculate(R2, ">>", R1)
        asm.calculate(R2, "&", 0xFF)
        asm.store(4, _CONTEXT, _PRIORITY, R2)

    def _write_packet(self, at: int, source: int, count: int) -> None:
        """Write bytes of the stack into the packet."""
        asm = self._asm
        asm.set(R1, _CONTEXT)
        asm.set(R2, at)
        self._stack_address(R3, source)
        asm.set(R4, count)
        asm.set(R5, 0)
        asm.call(_STORE_BYTES)
        asm.jump_if(R0, "!=", 0, "drop")
