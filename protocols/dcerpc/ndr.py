"""Stubs: what calls say, in either transfer syntax and either byte order (C706 chapter 14, MS-RPCE s.2.2.5).

NDR32 and NDR64 differ in what this module calls a size: four or eight octets, and aligned so. Pointers are sizes.
"""

from __future__ import annotations

from protocols.contract.addresses import Malformed
from protocols.dcerpc import wire
from protocols.dcerpc.wire import Order, Pdu, Uuid
from protocols.toolbox.spans import Span, replace

MAX_STUB_BYTES = 1 << 20
"""A list of all endpoints of a domain controller has some 50 KB; an activation has some hundreds of bytes (DC6)."""
PDU_BYTES = 256
"""What Python needs to hold a PDU, besides its octets. Fragments may have a single octet each, or none."""


class Reader:
    """Reads the values of a stub one after the other. Raises Malformed where one is not whole."""

    __slots__ = ("_data", "_little", "_width", "at")

    def __init__(self, data: bytes, order: Order, is_wide: bool, at: int = 0) -> None:
        """is_wide: the transfer syntax is NDR64."""
        self._data = data
        self._little = order == "<"
        self._width = 8 if is_wide else 4
        self.at = at

    @property
    def left(self) -> int:
        """How many octets have not been read."""
        return len(self._data) - self.at

    def octets(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self._data):
            raise Malformed("a stub that is cut short")
        return self._data[start : self.at]

    def align(self, to: int) -> None:
        self.at += -self.at % to

    def integer(self, width: int) -> int:
        """An unsigned number of so many octets, aligned so."""
        self.at += -self.at % width
        octets = self.octets(width)
        return int.from_bytes(octets, "little" if self._little else "big")

    def short(self) -> int:
        return self.integer(2)

    def number(self) -> int:
        return self.integer(4)

    def size(self) -> int:
        """A pointer, or one of the counts of an array."""
        return self.integer(self._width)

    def uuid(self) -> Uuid:
        self.align(4)
        octets = self.octets(16)
        return octets if self._little else wire.swapped(octets)

    def array(self, most: int) -> int:
        """The counts of an array of which only a part is sent: maximum, offset and actual count. Returns the last."""
        allowed, offset, count = self.size(), self.size(), self.size()
        if offset or count > allowed or count > most:
            raise Malformed(f"an array of {count} from {offset} where {allowed} are allowed")
        return count


class Joined:
    """The stub of a call or an answer, which comes in one PDU or several (DC6)."""

    __slots__ = ("_parts", "order", "pdus", "size", "trailers")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.pdus: list[Pdu] = []
        self._parts: list[Span] = []
        self.size = 0
        """Of all PDUs, as they are held."""
        self.trailers = False
        """Whether one of them has a trailer, so that nothing of it can be changed (DC31)."""

    def add(self, pdu: Pdu, stub: Span) -> None:
        """The next PDU. Raises Malformed."""
        self.size += len(pdu.raw) + PDU_BYTES
        if pdu.order != self.order:
            raise Malformed("fragments in two byte orders")
        if self.size > MAX_STUB_BYTES:
            raise Malformed(f"a stub in {len(self.pdus) + 1} PDUs takes more than {MAX_STUB_BYTES} bytes")
        self.pdus.append(pdu)
        self._parts.append(stub)
        self.trailers = self.trailers or pdu.auth > 0

    @property
    def raw(self) -> bytes:
        """All of it as it came."""
        return b"".join(pdu.raw for pdu in self.pdus)

    @property
    def stub(self) -> bytes:
        return b"".join(pdu.raw[start:end] for pdu, (start, end) in zip(self.pdus, self._parts, strict=True))

    def replaced(self, stub: bytes) -> bytes:
        """All of it with another stub of the same length, cut as the first one was."""
        parts, at = [], 0
        for pdu, span in zip(self.pdus, self._parts, strict=True):
            length = span.end - span.start
            parts.append(replace(pdu.raw, [(span, stub[at : at + length])]))
            at += length
        return b"".join(parts)

    def resized(self, stub: bytes) -> bytes | None:
        """The same with a stub of another length. None: it does not fit into its one PDU, or there are several."""
        (pdu, *more) = self.pdus
        if more or len(stub) + wire.BODY_AT > 65535:
            return None
        return wire.with_stub(pdu, stub)
