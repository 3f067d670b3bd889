"""A message written anew, with other names or fewer records.

Names may stand in any place that a pointer of a later one leads to. So where one becomes longer, or a record is left
out, all of them are written anew: compressed again where every reader knows that they may be (RFC 3597 s.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from protocols.contract.addresses import Malformed
from protocols.dns.wire import Header, Names, Record, Type

_COMPRESSED = {
    Type.NS: (0, 1), 3: (0, 1), 4: (0, 1), Type.CNAME: (0, 1), Type.SOA: (0, 2), 7: (0, 1), 8: (0, 1), 9: (0, 1),
    Type.PTR: (0, 1), 14: (0, 2), Type.MX: (2, 1),
}  # fmt: skip
"""Types whose data holds names that may be compressed: the bytes before them, and how many there are. 3, 4 and 7 to 14
are MD, MF, MB, MG, MR and MINFO (RFC 1035)."""
_EXPANDED = {17: (0, 2), 18: (2, 1), 21: (2, 1), Type.SIG: (18, 1), 26: (2, 2), Type.SRV: (6, 1), 36: (2, 1)}
"""Types in which names of others may come compressed, and none of ours may: RP, AFSDB, RT, SIG, PX, SRV, KX."""
_LAST_TARGET = 0x3FFF
"""The last place that a pointer can lead to."""


class _Writer:
    """Writes names, and remembers where they stand."""

    def __init__(self, header: bytes) -> None:
        self.data = bytearray(header)
        self._places: dict[bytes, int] = {}
        """Name without compression -> where it stands, in the same upper and lower case."""

    def name(self, name: bytes, is_compressed: bool = True) -> None:
        at = 0
        while name[at]:
            rest = name[at:]
            if is_compressed and (place := self._places.get(rest)) is not None:
                self.data += (0xC000 | place).to_bytes(2, "big")
                return
            if len(self.data) <= _LAST_TARGET:
                self._places.setdefault(rest, len(self.data))
            self.data += name[at : at + name[at] + 1]
            at += name[at] + 1
        self.data += b"\0"


def rebuilt(
    message: bytes,
    header: Header,
    question: bytes,
    records: Sequence[Record],
    names: Names,
    leave_out: Set[Record] = frozenset(),
    renamed: Callable[[bytes], bytes] = lambda name: name,
) -> bytes:
    """The message with this question section, without some of its records, and with owners of records by the name that
    `renamed` has for them. Raises Malformed for names that cannot be read."""
    left = [record for record in records if record not in leave_out]
    counts = [sum(record.section == section for record in left) for section in (1, 2, 3)]
    writer = _Writer(message[:6] + b"".join(count.to_bytes(2, "big") for count in counts))
    if header.questions:
        end = len(question) - 4
        writer.name(question[:end])
        writer.data += question[end:]
    for record in left:
        writer.name(renamed(names.labels(record.name_at)))
        writer.data += message[record.fixed_at : record.data_at]
        length_at = len(writer.data) - 2
        _write_data(writer, message, record, names)
        writer.data[length_at : length_at + 2] = (len(writer.data) - length_at - 2).to_bytes(2, "big")
    return bytes(writer.data)


def _write_data(writer: _Writer, message: bytes, record: Record, names: Names) -> None:
    layout = _COMPRESSED.get(record.type) or _EXPANDED.get(record.type)
    if layout is None:
        writer.data += message[record.data_at : record.end]
        return
    before, count = layout
    at = record.data_at + before
    writer.data += message[record.data_at : at]
    for _ in range(count):
        end = names.end(at)
        if end > record.end:
            raise Malformed("a name beyond its record")
        writer.name(names.labels(at), record.type in _COMPRESSED)
        at = end
    writer.data += message[at : record.end]
