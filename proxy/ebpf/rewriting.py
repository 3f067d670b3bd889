# SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
#
# This file, unlike the rest of pinhole, is also offered under the MIT licence or version 2 of the GNU General Public
# License (see LICENSE): the kernel lends its routing table only to programs that say that they are compatible with it.
"""What becomes of a packet that has a row: other addresses and ports, one hop less, and the checksums for that."""

from __future__ import annotations

from proxy.ebpf import layout
from proxy.ebpf.assembler import Assembler
from proxy.ebpf.environment import (
    CHANGE_HEAD,
    CHANGE_TAIL,
    CONTEXT,
    CSUM_UPDATE,
    ETHERNET_BYTES,
    FOUR,
    L4_CSUM_REPLACE,
    LEN,
    LENGTH,
    MANGLED_0,
    PRIORITY,
    PSEUDO_HEADER,
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    ROW,
    STACK,
    STORE_BYTES,
    TOS,
    UDP_BYTES,
    UDP_CHECKSUM,
    WORD,
    Version,
)

_PRIORITIES = 0x04060200
"""The bytes are the priorities TC_PRIO_* of a packet whose TOS & 0x18 is 0, 8, 16 and 24 (ip_tos2prio), from the lowest
on. A router sets them for queues that look at nothing else."""


class Rewriting:
    """Writes the instructions for that, at the end of one way through the program."""

    def __init__(self, asm: Assembler, has_mac: bool) -> None:
        self._asm = asm
        self._has_mac = has_mac

    def write(self, version: Version) -> None:
        """Write the new addresses and ports, one hop less, and the checksums. Until the first byte is written the
        packet may still go on as it came; then it is dropped if the kernel has no memory for the rest. Whatever the
        link, an Ethernet header stands before the packet in the end."""
        asm = self._asm
        self._trim()
        if not self._has_mac:
            asm.set(R1, CONTEXT)
            asm.set(R2, ETHERNET_BYTES)
            asm.set(R3, 0)
            asm.call(CHANGE_HEAD)
            asm.jump_if(R0, "!=", 0, "not ours")
        self._change_udp_checksum(version)
        asm.load(4, R1, STACK, WORD)
        if version is FOUR:
            self._next_hop_4()
        else:
            asm.calculate(R1, "-", 1 << 24)
        asm.store(4, STACK, WORD, R1)
        after, hosts = layout.AFTER[version.number], 2 * version.host
        asm.copy((STACK, WORD + 4), (ROW, after), (8,) * (hosts // 8))
        asm.copy((STACK, WORD + 4 + hosts), (ROW, layout.PORTS_AFTER), (4,))
        self.into_packet(ETHERNET_BYTES + version.hosts_at - 4, WORD, 4 + hosts + 4)
        if version is FOUR:
            self._set_priority()
        else:
            self._change_sum_6()
        asm.set(R1, LENGTH)
        asm.calculate(R1, "-", version.header + UDP_BYTES)
        asm.add_to_memory(ROW, layout.BYTES, R1)
        asm.set(R1, 1)
        asm.add_to_memory(ROW, layout.PACKETS, R1)

    def _trim(self) -> None:
        """Cut off what fills up a short frame, as a router does."""
        asm, trimmed = self._asm, self._asm.new_label()
        asm.load(4, R1, CONTEXT, LEN)
        asm.set(R2, LENGTH)
        asm.calculate(R2, "+", ETHERNET_BYTES if self._has_mac else 0)
        asm.jump_if(R1, "==", R2, trimmed)
        asm.set(R1, CONTEXT)
        asm.set(R3, 0)
        asm.call(CHANGE_TAIL)
        asm.jump_if(R0, "!=", 0, "not ours")
        asm.label(trimmed)

    def _change_udp_checksum(self, version: Version) -> None:
        asm, at = self._asm, ETHERNET_BYTES + version.header + UDP_CHECKSUM
        same_hosts, same_ports = asm.new_label(), asm.new_label()
        asm.load(4, R4, ROW, layout.SUM)
        asm.jump_if(R4, "==", 0, same_hosts)
        asm.set(R3, 0)
        self._replace_sum(at, PSEUDO_HEADER | MANGLED_0)
        asm.label(same_hosts)
        asm.load(4, R3, ROW, layout.PORTS_BEFORE)
        asm.load(4, R4, ROW, layout.PORTS_AFTER)
        asm.jump_if(R3, "==", R4, same_ports)
        self._replace_sum(at, MANGLED_0 | 4)  # words of four bytes, before and after; above it was a difference
        asm.label(same_ports)

    def _replace_sum(self, at: int, flags: int) -> None:
        """Have R3 replaced by R4 in the checksum that stands there."""
        asm = self._asm
        asm.set(R1, CONTEXT)
        asm.set(R2, at)
        asm.set(R5, flags)
        asm.call(L4_CSUM_REPLACE)
        asm.jump_if(R0, "!=", 0, "drop")

    def _next_hop_4(self) -> None:
        """R1 has TTL, protocol and checksum, from the lowest byte on: one hop less, and the checksum for that and for
        the new addresses (RFC 1624, equation 3)."""
        asm = self._asm
        asm.set(R2, R1)
        asm.calculate(R2, ">>", 16)
        asm.calculate(R2, "^", 0xFFFF)
        asm.load(4, R3, ROW, layout.SUM)
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
        asm.load(4, R2, ROW, layout.SUM)
        asm.calculate(R2, "+", 0xFFFF - 0x0100)
        asm.set(R1, CONTEXT)
        asm.call(CSUM_UPDATE)

    def _set_priority(self) -> None:
        asm = self._asm
        asm.load(4, R1, STACK, TOS)
        asm.calculate(R1, "&", 0x18)
        asm.set(R2, _PRIORITIES)
        asm.calculate(R2, ">>", R1)
        asm.calculate(R2, "&", 0xFF)
        asm.store(4, CONTEXT, PRIORITY, R2)

    def into_packet(self, at: int, source: int, count: int) -> None:
        """Write bytes of the stack into the packet."""
        asm = self._asm
        asm.set(R1, CONTEXT)
        asm.set(R2, at)
        asm.set(R3, STACK)
        asm.calculate(R3, "+", source)
        asm.set(R4, count)
        asm.set(R5, 0)
        asm.call(STORE_BYTES)
        asm.jump_if(R0, "!=", 0, "drop")
