# SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
#
# This file, unlike the rest of pinhole, is also offered under the MIT licence or version 2 of the GNU General Public
# License (see LICENSE): the kernel lends its routing table only to programs that say that they are compatible with it.
"""What the program works with: registers and stack, functions and structures of the kernel (linux/bpf.h), and what is
different between IPv4 and IPv6."""

from __future__ import annotations

import socket
from typing import NamedTuple

from proxy.ebpf.assembler import Register

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register
CONTEXT, ROW, ROUTE, LENGTH, STACK = R6, R7, R8, R9, R10
"""What the registers hold that a call leaves alone. The length is that of the IP packet."""

# Functions of the kernel (enum bpf_func_id).
MAP_LOOKUP, STORE_BYTES, L4_CSUM_REPLACE, REDIRECT, CHANGE_TAIL, PULL_DATA = 1, 9, 11, 23, 38, 39
CSUM_UPDATE, CHANGE_HEAD, FIB_LOOKUP, REDIRECT_NEIGH, KTIME_GET_COARSE_NS = 40, 43, 69, 152, 160
PSEUDO_HEADER, MANGLED_0 = 1 << 4, 1 << 5
"""Flags of l4_csum_replace: the sum is of addresses; a checksum of 0 stays what it is, and none becomes 0."""

# Fields of struct __sk_buff.
LEN, PKT_TYPE, PROTOCOL, VLAN_PRESENT, PRIORITY, IFINDEX, DATA, DATA_END = 0, 4, 16, 20, 32, 40, 76, 80
GSO_SIZE = 176

ETHERNET_BYTES = 14
UDP_BYTES, UDP_LENGTH, UDP_CHECKSUM = 8, 4, 6
MORE_THAN_DONT_FRAGMENT = 0xFFBF
"""The bits of the fragment word, as the machine reads it, that are 0 in a whole packet."""

# The stack, from its end down. Verifiers before Linux 6.8 take it for the destruction of a pointer when a part of eight
# bytes is written whose beginning was written before; only CAP_PERFMON keeps them from it. So where eight bytes are
# written in pieces the first piece comes last, and is not followed by any other one.
KEY = -40
FIB = -104  # struct bpf_fib_lookup, 64 bytes
WORD = -164  # hops and what stands beside them, then addresses and ports: what is written into the packet
TICKS = -176
MAC = -192  # the Ethernet header
TOS = -196
OUT = -200  # index of the interface
ZERO = -204
INDEX = -212  # the number of the row
NEXT_HOP = -236  # struct bpf_redir_neigh, 20 bytes
NOW = -248


class Version(NamedTuple):
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


FOUR = Version(4, socket.AF_INET, 0x0008, 20, 12, 4)
SIX = Version(6, socket.AF_INET6, 0xDD86, 40, 8, 16)
