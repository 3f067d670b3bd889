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
the program, no type information (BTF), and all memory is written before it is read, so CAP_PERFMON is not needed. Tried
on Linux 6.1 (`tools/older-kernel`) and 6.18.
"""

from __future__ import annotations

import os
import socket

from proxy.ebpf import layout, syscall
from proxy.ebpf.assembler import Assembler, Register
from proxy.ebpf.environment import (
    CONTEXT,
    DATA,
    DATA_END,
    ETHERNET_BYTES,
    FIB,
    FIB_LOOKUP,
    FOUR,
    GSO_SIZE,
    IFINDEX,
    INDEX,
    KEY,
    KTIME_GET_COARSE_NS,
    LEN,
    LENGTH,
    MAC,
    MAP_LOOKUP,
    MORE_THAN_DONT_FRAGMENT,
    NEXT_HOP,
    NOW,
    OUT,
    PKT_TYPE,
    PROTOCOL,
    PULL_DATA,
    R0,
    R1,
    R2,
    R3,
    R4,
    REDIRECT,
    REDIRECT_NEIGH,
    ROUTE,
    ROW,
    SIX,
    STACK,
    TICKS,
    TOS,
    UDP_BYTES,
    UDP_CHECKSUM,
    UDP_LENGTH,
    VLAN_PRESENT,
    WORD,
    ZERO,
    Version,
)
from proxy.ebpf.rewriting import Rewriting
from proxy.ebpf.syscall import ARRAY, Shape
from proxy.ebpf.tables import Tables

NOT_OURS, DROPPED, REDIRECTED = -1, 2, 7
"""What the program answers: TCX_NEXT or TC_ACT_UNSPEC, TCX_DROP or TC_ACT_SHOT, TCX_REDIRECT or TC_ACT_REDIRECT. tcx
and clsact use the same numbers."""

_LICENCE = "Dual MIT/GPL"

# struct bpf_fib_lookup
_FIB_FAMILY, _FIB_PORTS, _FIB_LENGTH, _FIB_IFINDEX, _FIB_TOS, _FIB_SOURCE = 0, 2, 6, 8, 12, 16
_FIB_DESTINATION, _FIB_REST, _FIB_OWN_MAC, _FIB_NEXT_MAC = 32, 48, 52, 58
_FIB_BYTES, _NEXT_HOP_BYTES = 64, 20
_FOUND, _NO_NEIGHBOUR = 0, 7

# A route as it is remembered: when, in ticks (0: not); the interface; both MAC addresses; the MTU.
_WHEN, _ROUTE_OUT, _MACS, _MTU, _ROUTE_BYTES = 0, 4, 8, 20, 32


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
        self._ip = ETHERNET_BYTES if has_mac else 0
        """Where the IP header begins."""
        self._asm = Assembler()
        self._rewriting = Rewriting(self._asm, has_mac)

    def assemble(self) -> bytes:
        """All instructions."""
        asm = self._asm
        asm.set(CONTEXT, R1)
        asm.load(4, R2, CONTEXT, PROTOCOL)
        for version in (FOUR, SIX):
            asm.jump_if(R2, "==", version.ethertype, f"{version.number}")
        asm.label("not ours")
        asm.set(R0, NOT_OURS)
        asm.exit()
        asm.label("drop")
        asm.set(R0, DROPPED)
        asm.exit()
        for version in (FOUR, SIX):
            asm.label(f"{version.number}")
            self._reach_headers(version)
            if version is FOUR:
                self._check_header_4()
            else:
                self._check_header_6()
            self._check_lengths(version)
            self._find_row(version)
            self._check_way()
            self._find_route(version)
        return asm.assemble()

    # -- is it ours ---------------------------------------------------------------------------------------------------

    def _reach_headers(self, version: Version) -> None:
        """R1 is where the packet begins, and its headers can be read from there. In memory a packet may have only its
        beginning in one piece, and even less than its headers."""
        asm, need, reached = self._asm, self._ip + version.header + UDP_BYTES, self._asm.new_label()
        self._load_packet(need)
        asm.jump_if(R3, "<=", R2, reached)
        asm.set(R1, CONTEXT)
        asm.set(R2, need)
        asm.call(PULL_DATA)
        asm.jump_if(R0, "!=", 0, "not ours")
        self._load_packet(need)
        asm.jump_if(R3, ">", R2, "not ours")
        asm.label(reached)

    def _load_packet(self, need: int) -> None:
        """R1 is the packet, R2 is its end, R3 is where the headers end."""
        asm = self._asm
        asm.load(4, R1, CONTEXT, DATA)
        asm.load(4, R2, CONTEXT, DATA_END)
        asm.set(R3, R1)
        asm.calculate(R3, "+", need)

    def _check_header_4(self) -> None:
        """A whole packet of UDP without options, which may go on."""
        asm, ip = self._asm, self._ip
        asm.load(1, R2, R1, ip)
        asm.jump_if(R2, "!=", 0x45, "not ours")
        asm.load(2, R2, R1, ip + 6)
        asm.calculate(R2, "&", MORE_THAN_DONT_FRAGMENT)
        asm.jump_if(R2, "!=", 0, "not ours")
        asm.load(1, R2, R1, ip + 9)
        asm.jump_if(R2, "!=", socket.IPPROTO_UDP, "not ours")
        asm.load(1, R2, R1, ip + 8)
        asm.jump_if(R2, "<=", 1, "not ours")
        asm.load(1, R2, R1, ip + 1)
        asm.store(4, STACK, TOS, R2)
        asm.copy((STACK, WORD), (R1, ip + 8), (4,))
        asm.load(2, LENGTH, R1, ip + 2)
        asm.from_network(LENGTH)

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
        asm.load(2, R2, R1, ip + 40 + UDP_CHECKSUM)
        asm.jump_if(R2, "==", 0, "not ours")
        asm.load(4, R2, R1, ip)
        asm.calculate(R2, "&", -0xF1)  # traffic class and flow label, without the version
        asm.store(4, STACK, TOS, R2)
        asm.copy((STACK, WORD), (R1, ip + 4), (4,))
        asm.load(2, LENGTH, R1, ip + 4)
        asm.from_network(LENGTH)
        asm.calculate(LENGTH, "+", 40)
        asm.jump_if(LENGTH, ">", 0xFFFF, "not ours")

    def _check_lengths(self, version: Version) -> None:
        """UDP fills the IP packet, of which nothing is missing. What is shorter has something behind it that a socket
        would cut off."""
        asm = self._asm
        asm.load(2, R2, R1, self._ip + version.header + UDP_LENGTH)
        asm.from_network(R2)
        asm.jump_if(R2, "<", UDP_BYTES, "not ours")
        asm.calculate(R2, "+", version.header)
        asm.jump_if(R2, "!=", LENGTH, "not ours")
        asm.calculate(R2, "+", self._ip)
        asm.load(4, R3, CONTEXT, LEN)
        asm.jump_if(R2, ">", R3, "not ours")

    def _find_row(self, version: Version) -> None:
        """The row of the packet's addresses and ports, which has to say the same."""
        asm, hosts = self._asm, 2 * version.host
        asm.copy((STACK, KEY), (R1, self._ip + version.hosts_at), (4,) * (hosts // 4))
        asm.copy((STACK, KEY + hosts), (R1, self._ip + version.header), (4,))
        self._look_up(self._tables.four if version is FOUR else self._tables.six, KEY)
        asm.copy((STACK, INDEX), (R0, 0), (4,))
        self._look_up(self._tables.rows, INDEX)
        asm.set(ROW, R0)
        pieces = [(8, layout.BEFORE[version.number] + at, KEY + at) for at in range(0, hosts, 8)]
        for width, in_row, in_key in (*pieces, (4, layout.PORTS_BEFORE, KEY + hosts)):
            asm.load(width, R1, ROW, in_row)
            asm.load(width, R2, STACK, in_key)
            asm.jump_if(R1, "!=", R2, "not ours")

    def _look_up(self, table: int, key: int) -> None:
        """R0 is the value of the key at that place of the stack."""
        asm = self._asm
        asm.table(R1, table)
        self._stack_address(R2, key)
        asm.call(MAP_LOOKUP)
        asm.jump_if(R0, "==", 0, "not ours")

    def _stack_address(self, to: Register, offset: int) -> None:
        self._asm.set(to, STACK)
        self._asm.calculate(to, "+", offset)

    def _check_way(self) -> None:
        """It came by the interface that its stream comes by, was sent to this host, and is one packet. One with a tag
        is for an interface of its VLAN, and is looked at there."""
        asm, same = self._asm, self._asm.new_label()
        asm.load(4, R1, ROW, layout.INTERFACE)
        asm.jump_if(R1, "==", 0, same)
        asm.load(4, R2, CONTEXT, IFINDEX)
        asm.jump_if(R1, "!=", R2, "not ours")
        asm.label(same)
        for field in (VLAN_PRESENT, GSO_SIZE, PKT_TYPE) if self._has_mac else (GSO_SIZE,):
            asm.load(4, R1, CONTEXT, field)
            asm.jump_if(R1, "!=", 0, "not ours")

    # -- where it goes ------------------------------------------------------------------------------------------------

    def _find_route(self, version: Version) -> None:
        """By the remembered route, or else by the kernel's; and on."""
        asm, ask = self._asm, self._asm.new_label()
        asm.call(KTIME_GET_COARSE_NS)
        asm.store(8, STACK, NOW, R0)
        if self._is_leased:
            self._check_lease()
        self._look_up(self._routes, INDEX)
        asm.set(ROUTE, R0)
        asm.load(8, R3, STACK, NOW)
        asm.calculate(R3, ">>", layout.TICK_BITS)
        asm.calculate_32(R3, "|", 1)  # 0 is for a route that is not known
        asm.store(4, STACK, TICKS, R3)
        asm.load(4, R2, ROUTE, _WHEN)
        asm.jump_if(R2, "==", 0, ask)
        asm.calculate_32(R3, "-", R2)
        asm.jump_if(R3, ">=", self._remembered_ticks, ask)
        asm.load(2, R3, ROUTE, _MTU)
        asm.jump_if(LENGTH, ">", R3, "not ours")
        asm.copy((STACK, OUT), (ROUTE, _ROUTE_OUT), (4,))
        asm.store(2, STACK, MAC + 12, version.ethertype)
        asm.copy((STACK, MAC), (ROUTE, _MACS), (8, 4))
        # Another processor writes the time first as 0, and as it is when all else is written.
        asm.load(4, R3, ROUTE, _WHEN)
        asm.jump_if(R3, "!=", R2, ask)
        self._rewriting.write(version)
        self._send_remembered()
        asm.label(ask)
        self._ask_for_route(version)
        self._rewriting.write(version)
        self._send_to_neighbour()

    def _check_lease(self) -> None:
        """The owner of the rows is alive, or was just now."""
        asm = self._asm
        asm.store(4, STACK, ZERO, layout.LEASE_ROW)
        self._look_up(self._tables.rows, ZERO)
        asm.load(8, R1, R0, layout.VALID_UNTIL)
        asm.load(8, R2, STACK, NOW)
        asm.jump_if(R2, ">", R1, "not ours")

    def _ask_for_route(self, version: Version) -> None:
        """Ask how the packet would be forwarded with its new addresses, and remember what the kernel says."""
        asm, unknown = self._asm, self._asm.new_label()
        after = layout.AFTER[version.number]
        asm.store(2, STACK, FIB + _FIB_LENGTH, LENGTH)
        asm.copy((STACK, FIB + _FIB_PORTS), (ROW, layout.PORTS_AFTER), (2, 2))
        asm.store(2, STACK, FIB + _FIB_FAMILY, version.family | socket.IPPROTO_UDP << 8)
        asm.copy((STACK, FIB + _FIB_TOS), (STACK, TOS), (4,))
        asm.copy((STACK, FIB + _FIB_IFINDEX), (CONTEXT, IFINDEX), (4,))
        for field, host in ((_FIB_SOURCE, after), (_FIB_DESTINATION, after + version.host)):
            for at in range(version.host, 16, 4):
                asm.store(4, STACK, FIB + field + at, 0)
            asm.copy((STACK, FIB + field), (ROW, host), (4,) * (version.host // 4))
        for at in range(_FIB_REST, _FIB_BYTES, 8):
            asm.store(8, STACK, FIB + at, 0)
        asm.set(R1, CONTEXT)
        self._stack_address(R2, FIB)
        asm.set(R3, _FIB_BYTES)
        asm.set(R4, 0)
        asm.call(FIB_LOOKUP)
        asm.jump_if(R0, "==", _NO_NEIGHBOUR, unknown)
        asm.jump_if(R0, "!=", _FOUND, "not ours")
        asm.store(4, ROUTE, _WHEN, 0)
        asm.copy((ROUTE, _ROUTE_OUT), (STACK, FIB + _FIB_IFINDEX), (4,))
        asm.copy((ROUTE, _MTU), (STACK, FIB + _FIB_LENGTH), (2,))
        asm.copy((ROUTE, _MACS), (STACK, FIB + _FIB_NEXT_MAC), (2, 2, 2))
        asm.copy((ROUTE, _MACS + 6), (STACK, FIB + _FIB_OWN_MAC), (2, 2, 2))
        asm.copy((ROUTE, _WHEN), (STACK, TICKS), (4,))
        asm.label(unknown)

    def _send_remembered(self) -> None:
        asm = self._asm
        self._rewriting.into_packet(0, MAC, ETHERNET_BYTES)
        asm.load(4, R1, STACK, OUT)
        asm.set(R2, 0)
        asm.call(REDIRECT)
        asm.exit()

    def _send_to_neighbour(self) -> None:
        """The next hop is in the place of the destination now, and may be of the other IP version."""
        asm = self._asm
        asm.load(1, R1, STACK, FIB + _FIB_FAMILY)
        asm.store(4, STACK, NEXT_HOP, R1)
        asm.copy((STACK, NEXT_HOP + 4), (STACK, FIB + _FIB_DESTINATION), (8, 8))
        asm.load(4, R1, STACK, FIB + _FIB_IFINDEX)
        self._stack_address(R2, NEXT_HOP)
        asm.set(R3, _NEXT_HOP_BYTES)
        asm.set(R4, 0)
        asm.call(REDIRECT_NEIGH)
        asm.exit()
