"""Programs of classic BPF (linux/filter.h) that choose, for each packet, one of two listeners on one address and port.

SO_ATTACH_REUSEPORT_CBPF: the kernel runs such a program whenever it, or a firewall rule, looks for the listener of a
packet.

The kernel takes 4096 instructions at most, and fewer where `net.core.optmem_max` is small. So one list of networks has
several programs: the first one is exact; each that follows admits larger networks around them, and is shorter.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain

from protocols.contract.addresses import Network

ASIDE, IN_PLACE = 0, 1
"""What a program answers: the number of a listener, in the order in which they began to listen."""

MAX_INSTRUCTIONS = 4096
"""The kernel's limit, BPF_MAXINSNS."""
BYTES_PER_INSTRUCTION = 8

_PREFIXES = {4: (32, 24, 16, 0), 6: (128, 64, 48, 0)}
"""IP version -> the longest prefix that each program of a list has."""

_MASKS = {
    version: [(1 << bits) - (1 << bits - prefix) for prefix in range(bits + 1)] for version, bits in ((4, 32), (6, 128))
}
"""IP version -> the mask of each prefix, as a number."""

_LOAD_WORD, _LOAD_BYTE, _LOAD_BYTE_AT_X = 0x20, 0x30, 0x50
_AND, _SHIFT_LEFT, _TO_X, _IF_EQUAL, _RETURN = 0x54, 0x64, 0x07, 0x15, 0x06
_FURTHEST = 255
"""How far a conditional jump reaches: it has one byte for its distance."""

_HEADER = 0xFFF00000
"""SKF_NET_OFF: offsets from here count from the IP header."""
_NEXT_HEADER_V6, _HEADER_BYTES_V6 = 6, 40
_SOURCE = {4: 12, 6: 8}
_FLAGS, _SYN, _SYN_ACK = 13, 0x02, 0x12
"""Where the flags stand in the TCP header, and two masks of flags."""

_Instruction = tuple[int, int, int, int]
"""The code, the distance to jump if true, the distance if false, and the operand."""

_BEGINS_A_CONNECTION: dict[int, tuple[_Instruction, ...]] = {
    4: (
        (_LOAD_BYTE, 0, 0, _HEADER),
        (_AND, 0, 0, 0x0F),
        (_SHIFT_LEFT, 0, 0, 2),
        (_TO_X, 0, 0, 0),
        (_LOAD_BYTE_AT_X, 0, 0, _HEADER + _FLAGS),
        (_AND, 0, 0, _SYN_ACK),
        (_IF_EQUAL, 1, 0, _SYN),
        (_RETURN, 0, 0, ASIDE),
    ),
    6: (
        (_LOAD_BYTE, 0, 0, _HEADER + _NEXT_HEADER_V6),
        (_IF_EQUAL, 1, 0, socket.IPPROTO_TCP),  # the program does not look behind extension headers
        (_RETURN, 0, 0, ASIDE),
        (_LOAD_BYTE, 0, 0, _HEADER + _HEADER_BYTES_V6 + _FLAGS),
        (_AND, 0, 0, _SYN_ACK),
        (_IF_EQUAL, 1, 0, _SYN),
        (_RETURN, 0, 0, ASIDE),
    ),
}
"""IP version -> the part of a program that answers ASIDE for all packets that do not begin a connection."""


def _packed(program: Sequence[_Instruction]) -> bytes:
    """A program as the kernel reads it."""
    return struct.pack("=" + "HBBI" * len(program), *chain.from_iterable(program))


_BEGINNING = {version: _packed(program) for version, program in _BEGINS_A_CONNECTION.items()}


def new_from(version: int, allow: Collection[Network]) -> Iterator[bytes]:
    """Programs that answer IN_PLACE for packets that begin a connection and come from one of these networks, and ASIDE
    for all others. The exact program comes first, if it is not too long; then come programs for ever wider networks."""
    for longest in _PREFIXES[version]:
        wider = {_shortened(network, longest) for network in allow if network.version == version}
        if len(wider) == 1:
            yield _for_one(version, *wider)
            continue
        checks = list(_is_in_v4(wider) if version == 4 else _is_in_v6(wider))
        if len(_BEGINS_A_CONNECTION[version]) + len(checks) < MAX_INSTRUCTIONS:
            yield _program(version, checks)


@lru_cache(maxsize=1024)
def _for_one(version: int, network: tuple[int, int]) -> bytes:
    """The program for a single network. Each data connection of FTP needs one, and a client has many in a row."""
    return _program(version, list(_is_in_v4([network]) if version == 4 else _is_in_v6([network])))


def _program(version: int, checks: Sequence[_Instruction]) -> bytes:
    """A whole program: the beginning, these checks, and ASIDE for what passes none of them."""
    return _BEGINNING[version] + _packed([*checks, (_RETURN, 0, 0, ASIDE)])


def _shortened(network: Network, longest: int) -> tuple[int, int]:
    """The network around this one whose prefix is no longer than `longest`: its address and its mask as numbers."""
    prefix = min(network.prefixlen, longest)
    mask = _MASKS[network.version][prefix]
    return int(network.network_address) & mask, mask


def _is_in_v4(networks: Collection[tuple[int, int]]) -> Iterator[_Instruction]:
    """Checks that answer IN_PLACE if the source is in one of these networks."""
    for mask in {mask for _, mask in networks}:
        yield _LOAD_WORD, 0, 0, _HEADER + _SOURCE[4]
        if mask != 0xFFFFFFFF:
            yield _AND, 0, 0, mask
        addresses = [address for address, its_mask in networks if its_mask == mask]
        for at in range(0, len(addresses), _FURTHEST):
            yield from _admit_any(addresses[at : at + _FURTHEST])


def _admit_any(values: Sequence[int]) -> Iterator[_Instruction]:
    """Answer IN_PLACE if the loaded word is one of these values. All comparisons jump to one answer at their end."""
    for number, value in enumerate(values):
        to_the_answer = len(values) - 1 - number
        yield _IF_EQUAL, to_the_answer, 0 if to_the_answer else 1, value
    yield _RETURN, 0, 0, IN_PLACE


def _is_in_v6(networks: Collection[tuple[int, int]]) -> Iterator[_Instruction]:
    """Checks that answer IN_PLACE if the source is in one of these networks."""
    for address, mask in networks:
        checks: list[_Instruction] = []
        # the last word comes first, because neighbouring networks have the first ones in common
        for word in (3, 2, 1, 0):
            part, part_mask = (number >> 32 * (3 - word) & 0xFFFFFFFF for number in (address, mask))
            if not part_mask:
                continue
            checks.append((_LOAD_WORD, 0, 0, _HEADER + _SOURCE[6] + 4 * word))
            if part_mask != 0xFFFFFFFF:
                checks.append((_AND, 0, 0, part_mask))
            checks.append((_IF_EQUAL, 0, 0, part))
        # A comparison that fails jumps behind the answer.
        for at, (code, _, _, operand) in enumerate(checks):
            yield code, 0, len(checks) - at if code == _IF_EQUAL else 0, operand
        yield _RETURN, 0, 0, IN_PLACE
