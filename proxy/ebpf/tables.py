"""The tables of the program, and the rows that the daemon writes into them.

The holder makes the tables (`make_tables`), and the daemon, which may not, is given their descriptors (`Rows`). It puts
a stream in by one write to mapped memory and one system call, and reads counts from memory.

    resting -- put --> in force -- take_back --> resting (REST_SECONDS) --> free -- put --> ...

The kernel uses the memory of a deleted element of a hash table again at once. So a packet that is under way on another
processor may find a row that is not its own: the program compares each row with the packet, and a row that was taken
back rests before another stream has it, until no packet of the old one can still be counted there, and no route is
remembered for it.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from proxy.ebpf import layout, syscall
from proxy.ebpf.layout import LEASE_ROW, ROW_BYTES

Address = tuple[Any, ...]
"""A socket address as Python has it: the host as text, the port, and for IPv6 two numbers that are not looked at. Lanes
have their addresses in this form, so nothing is converted for them."""

REST_SECONDS = 2.0
LEASE_SECONDS = 2.0
"""How long the program goes on if nobody calls `Rows.keep`, if it was loaded with a lease."""

_COUNTS = struct.Struct("=QQ")
_WAY = struct.Struct("=4s4s16sII16x64s")
_WAY_AT = layout.PORTS_BEFORE
"""What is written into a row behind its counts: ports before and after, addresses of IPv4, interface, sum, addresses of
IPv6."""
_NOBODY = {4: bytes(8), 6: bytes(32)}
"""IP version -> hosts that no packet comes from and goes to."""
_TIME = struct.Struct("=Q")
_PORTS = struct.Struct("!HH")
_VERSIONS = {8: 4, 32: 6}
"""Bytes of two hosts -> their IP version."""
_FULL = (errno.E2BIG, errno.ENOMEM)


class Tables(NamedTuple):
    """Descriptors: the hash tables of IPv4 and IPv6, and the array of rows."""

    four: int
    six: int
    rows: int

    def copy(self) -> Tables:
        """Descriptors of one's own for the same tables. Raises OSError."""
        return _all_or_none(map(os.dup, self))

    def close(self) -> None:
        """Close all three. Programs that use the tables keep them."""
        for descriptor in self:
            os.close(descriptor)


def make_tables(capacity: int) -> Tables:
    """Make tables for so many streams. The memory, about 330 bytes for each, is taken at once. Needs CAP_BPF. Raises
    OSError."""
    return _all_or_none(map(syscall.make_table, layout.shapes(min(max(capacity, 1), layout.MOST_ROWS))))


def _all_or_none(made: Iterator[int]) -> Tables:
    """The tables whose descriptors are made one by one. If one of them cannot be had (OSError) none is left open."""
    kept: list[int] = []
    try:
        for descriptor in made:
            kept.append(descriptor)
    except OSError:
        for descriptor in kept:
            os.close(descriptor)
        raise
    return Tables(*kept)


class Row:
    """A stream in the tables: packets from one source to one address go on with other addresses."""

    __slots__ = ("_at", "_before", "_rows", "key", "number", "version")

    def __init__(self, rows: Rows, number: int, version: int, key: bytes) -> None:
        self._rows = rows
        self.number = number
        self.key = key
        """Source, destination and ports of its packets, as the hash table of that IP version has them."""
        self.version = version
        self._at = number * ROW_BYTES
        self._before: tuple[int, int] | None = None
        """The last counts of a row that was taken back."""

    @property
    def is_in_force(self) -> bool:
        """Whether packets still pass by it: nobody has taken it back, or put in a newer row for the same packets."""
        return self._before is None

    def counts(self) -> tuple[int, int]:
        """How many packets have passed, and how many bytes of payload. One read of memory, no system call."""
        return self._rows.counts(self._at) if self._before is None else self._before

    def take_back(self) -> tuple[int, int]:
        """Let no packet pass any more, and return the last counts. A second call returns the same again."""
        if self._before is None:
            self._rows.remove(self)
            # A packet that another processor had found equal before is counted by now: deleting takes longer.
            self._before = self._rows.counts(self._at)
            self._rows.rest(self.number)
        return self._before


class Rows:
    """The rows of a daemon. It needs no capability, only the descriptors of the tables."""

    def __init__(self, tables: Tables) -> None:
        """Map the rows. The descriptors stay the caller's, who closes them after `close`. Raises OSError if the tables
        are not such as this module writes: holder and daemon are of two versions."""
        shapes = tuple(map(syscall.shape, tables))
        self.capacity = shapes[-1].entries - 1
        if shapes != layout.shapes(self.capacity):
            raise OSError(errno.EPROTO, "the tables were made by another version of pinhole")
        self._elements = {
            version: syscall.Element(table, layout.KEY_BYTES[version])
            for version, table in ((4, tables.four), (6, tables.six))
        }
        self._memory = mmap.mmap(tables.rows, shapes[-1].entries * ROW_BYTES)
        self.by_key: dict[bytes, Row] = {}
        """key -> the row in force."""
        self._unused = 1
        """The first row that was never used."""
        self._resting: deque[tuple[float, int]] = deque()
        """When a row was taken back, and its number; the oldest first."""

    @property
    def used(self) -> int:
        """How many rows are in force."""
        return len(self.by_key)

    def put(self, source: Address, at: Address, out: Address, to: Address, interface: int) -> Row | None:
        """Have packets that come from `source` to `at` go on from `out` to `to`, if they come by this interface (0: by
        any). None: all rows are taken. Raises ValueError if the four are not addresses of one IP version.

        A row that is in force for the same packets is taken back: the newest stream has them.
        """
        before, after = _hosts(source, at), _hosts(out, to)
        if len(before) != len(after) or len(before) not in _VERSIONS:
            raise ValueError(f"not of one IP version: {source}, {at}, {out}, {to}")
        if (number := self._free()) is None:
            return None
        ports = _PORTS.pack(source[1], at[1])
        row = Row(self, number, _VERSIONS[len(before)], before + ports)
        self._write(row, before, after, ports, _PORTS.pack(out[1], to[1]), interface)
        try:
            self._elements[row.version].put(row.key, number)
        except OSError as error:
            self.rest(number)
            if error.errno not in _FULL:
                raise
            return None
        displaced, self.by_key[row.key] = self.by_key.get(row.key), row
        if displaced is not None:
            displaced.take_back()
        return row

    def keep(self) -> None:
        """Move the lease on, for a program that was loaded with one."""
        until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(LEASE_SECONDS * 1e9)
        _TIME.pack_into(self._memory, LEASE_ROW * ROW_BYTES + layout.VALID_UNTIL, until)

    def close(self) -> None:
        """Take all rows back, and unmap them. Their counts stay readable."""
        for row in tuple(self.by_key.values()):
            row.take_back()
        self._memory.close()

    # -- for Row ------------------------------------------------------------------------------------------------------

    def counts(self, at: int) -> tuple[int, int]:
        """Packets and bytes of the row that begins there."""
        octets, packets = _COUNTS.unpack_from(self._memory, at)
        return packets, octets

    def remove(self, row: Row) -> None:
        """Let the row equal no packet, and delete what leads to it, unless that leads to a newer one. All else that it
        says stays, for a packet that was compared a moment ago and is being rewritten on another processor."""
        at, nobody = row.number * ROW_BYTES + layout.BEFORE[row.version], _NOBODY[row.version]
        self._memory[at : at + len(nobody)] = nobody
        if self.by_key.get(row.key) is row:
            self._elements[row.version].remove(row.key)
            del self.by_key[row.key]

    def rest(self, number: int) -> None:
        """Nothing leads to this row any more."""
        self._resting.append((time.monotonic(), number))

    # -- rows as bytes ------------------------------------------------------------------------------------------------

    def _free(self) -> int | None:
        """A row that nobody has, and nobody has had for a moment."""
        if self._resting and time.monotonic() - self._resting[0][0] >= REST_SECONDS:
            return self._resting.popleft()[1]
        if self._unused <= self.capacity:
            self._unused += 1
            return self._unused - 1
        return None

    def _write(self, row: Row, before: bytes, after: bytes, ports: bytes, new_ports: bytes, interface: int) -> None:
        at = row.number * ROW_BYTES
        # Modulo 0xFFFF, a number equals the sum of its words, whichever way round they are.
        change = (int.from_bytes(after, "little") - int.from_bytes(before, "little")) % 0xFFFF
        four, six = (before + after, b"") if row.version == 4 else (b"", before + after)
        _COUNTS.pack_into(self._memory, at, 0, 0)
        _WAY.pack_into(self._memory, at + _WAY_AT, ports, new_ports, four, interface, change, six)


def _hosts(one: Address, other: Address) -> bytes:
    """Both hosts in network order."""
    return _host(one[0]) + _host(other[0])


def _host(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text.partition("%")[0])
    except OSError:
        raise ValueError(f"not an address: {text!r}") from None
