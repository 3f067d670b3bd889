"""The tables of the program as bytes. The program and the daemon agree on nothing else.

Two hash tables, one for each IP version, lead from the addresses and ports of a packet to the number of a row. The
array of rows says what becomes of the packet. Row 0 is no stream's: it has the lease. A row begins on a cache line, and
an IPv4 packet touches no other line of it; the addresses of IPv6 are on the second one.

    0   8   bytes of payload that have passed          48  16  nothing
    8   8   packets that have passed                   64  16  IPv6: source before
    16  4   ports before: source, destination          80  16        destination before
    20  4   ports after                                96  16        source after
    24  4   IPv4: source before                        112 16        destination after
    28  4         destination before
    32  4         source after
    36  4         destination after
    40  4   index of the interface that packets come by; 0: any
    44  4   sum of the addresses after, less those before

Addresses and ports are in network order, numbers in that of the machine, which is little-endian. All sums are the
ones' complement sums of RFC 1071 over words as the machine reads them.
"""

from __future__ import annotations

from proxy.ebpf.syscall import ARRAY, HASH, MAPPABLE, Shape

KEY_BYTES = {4: 12, 6: 36}
"""IP version -> bytes of a key: source, destination, source port, destination port."""
NUMBER_BYTES = 4
"""The value of a hash table: the number of a row."""

ROW_BYTES = 128
BYTES, PACKETS = 0, 8
PORTS_BEFORE, PORTS_AFTER = 16, 20
BEFORE = {4: 24, 6: 64}
AFTER = {4: 32, 6: 96}
"""IP version -> where source and destination stand in a row."""
INTERFACE, SUM = 40, 44

LEASE_ROW = 0
VALID_UNTIL = 0
"""Where row 0 has its time, eight bytes of CLOCK_MONOTONIC in nanoseconds."""

MOST_ROWS = 1 << 20
"""More than this, or none, are not given out: 128 MiB of rows."""

REMEMBERED_TICKS = 954
TICK_BITS = 20
"""For how long the program uses a route that it has looked up: a second, in units of 2^20 nanoseconds."""


def shapes(capacity: int) -> tuple[Shape, Shape, Shape]:
    """The tables of IPv4 and IPv6, and the rows, for so many streams. The number at the end of each name tells this
    layout from later ones."""
    four, six = (Shape(HASH, KEY_BYTES[v], NUMBER_BYTES, capacity, 0, f"pinhole_v{v}_1") for v in (4, 6))
    return four, six, Shape(ARRAY, NUMBER_BYTES, ROW_BYTES, capacity + 1, MAPPABLE, "pinhole_rows_1")
