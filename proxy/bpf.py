"""Which of two listeners on one address and port a packet is for: programs of classic BPF (linux/filter.h).

SO_ATTACH_REUSEPORT_CBPF   runs them whenever the kernel, or a firewall rule, looks for the listener of a packet
"""

from __future__ import annotations

import ctypes
import socket
import struct

_LOAD_BYTE, _LOAD_BYTE_AT_X, _AND, _SHIFT_LEFT, _TO_X, _IF_EQUAL, _RETURN = 0x30, 0x50, 0x54, 0x64, 0x07, 0x15, 0x06
_HEADER = 0xFFF00000
"""SKF_NET_OFF: offsets from here count from the IP header."""
_NEXT_HEADER_V6, _HEADER_BYTES_V6 = 6, 40
_FLAGS, _SYN, _SYN_ACK = 13, 0x02, 0x12
"""Of the TCP header."""

_kept: list[ctypes.Array[ctypes.c_char]] = []
"""The programs: options hold their addresses."""


def _program(*instructions: tuple[int, int, int, int]) -> bytes:
    """Code, distance to jump if true, and if false, and operand of each, as a socket option takes it (sock_fprog)."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    _kept.append(code)
    return struct.pack("@HP", len(instructions), ctypes.addressof(code))


NEW_TO_THE_FIRST = {
    4: _program(
        (_LOAD_BYTE, 0, 0, _HEADER),
        (_AND, 0, 0, 0x0F),
        (_SHIFT_LEFT, 0, 0, 2),
        (_TO_X, 0, 0, 0),
        (_LOAD_BYTE_AT_X, 0, 0, _HEADER + _FLAGS),
        (_AND, 0, 0, _SYN_ACK),
        (_IF_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 1),
    ),
    6: _program(
        (_LOAD_BYTE, 0, 0, _HEADER + _NEXT_HEADER_V6),
        (_IF_EQUAL, 0, 3, socket.IPPROTO_TCP),  # behind extension headers it is not looked for
        (_LOAD_BYTE, 0, 0, _HEADER + _HEADER_BYTES_V6 + _FLAGS),
        (_AND, 0, 0, _SYN_ACK),
        (_IF_EQUAL, 0, 1, _SYN),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, 1),
    ),
}
"""By IP version. A packet that begins a connection is for the first listener, any other for the second."""
