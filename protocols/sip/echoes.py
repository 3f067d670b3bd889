"""Addresses that one side has said and the other one says again: they come back as they were.

Who sends a request to a server inside may name in it any address, in fields that the answer repeats (Record-Route,
Path, To; RFC 3261 s.12.1.1, RFC 3327) or that later requests go by (Route, Request-URI). If we mapped whichever of them
is the server's own, the sender would read from the answer which of its guesses was right. So it is remembered in which
fields a side has named the other one by its inside address. Nobody does so by chance, and for all others nothing is
kept.

A proxy inside may have put its own Record-Route on top of the sender's, with the same address in it. So values of lists
are told apart by their place, counted from the last one, for proxies only ever add at the beginning.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from protocols.contract.addresses import Host, Peers, Side
from protocols.toolbox.memory import Memory, Recent, short

MAX_ECHOES = 10_000
"""Dialogs, and pairs of hosts, in which one side has named the inside address of the other one. Nobody does that by
chance."""
MAX_MARKS = 64
"""Places remembered of one dialog; in a field with more of them, every value is taken for an echo."""

_LISTS = frozenset((b"record-route", b"path"))
_SAME = {b"from": b"identity", b"to": b"identity"}
"""From of a request is From of its response, and To of a request of the other party: one name for both."""
_FROM_ANY_DIALOG = frozenset((b"request-uri", b"route"))
"""Where one is sent to, from a Contact, a Refer-To or a Service-Route of another dialog too. A host does not name
itself there."""


@dataclass(slots=True)
class EchoBook:
    """What sides have said of each other's hosts, for all flows."""

    memory: Memory
    said: Recent[tuple[bytes, Host], frozenset[Hashable]] = field(init=False)
    """(Call-ID, address of a host inside) -> the fields in which the other side has named that address."""
    guessed: Recent[tuple[Host, Host], bool] = field(init=False)
    """Hosts inside whose addresses a host outside has named, each with that one."""

    def __post_init__(self) -> None:
        self.said, self.guessed = Recent(MAX_ECHOES, self.memory), Recent(MAX_ECHOES, self.memory)


class Echoes:
    """What each of the two sides of one flow has said of the other one's host."""

    __slots__ = ("_book", "_peers")

    def __init__(self, peers: Peers, book: EchoBook) -> None:
        self._peers = peers
        self._book = book

    @property
    def are_any(self) -> bool:
        """Whether anybody has said an address that the other side alone knows: nobody does so by chance."""
        return len(self._book.guessed) > 0

    def hear(self, call_id: bytes, side: Side, field: bytes, from_last: int | None = 0) -> None:
        """A message from `side` names the other one's host as only that one knows it. from_last: None where the value
        cannot be read; then it is one wherever it stands."""
        named, by = self._peers.own(side.other).host, self._peers.own(side).host
        self._book.guessed.put((named, by), True)
        key = short(call_id), named
        marks = self._book.said.get(key) or frozenset()
        mark = _mark(field, from_last if len(marks) < MAX_MARKS else None)
        if mark not in marks:
            self._book.said.put(key, marks | {mark})

    def is_one(self, call_id: bytes, side: Side, field: bytes, method: bytes, from_last: int = 0) -> bool:
        """Whether a value in a message from `side`, which names its own host, was said by the other one first."""
        if not len(self._book.guessed):
            return False
        own, other = self._peers.own(side).host, self._peers.own(side.other).host
        if field in _FROM_ANY_DIALOG or (field == b"referred-by" and method != b"REFER"):
            return self._book.guessed.get((own, other)) is not None
        marks = self._book.said.get((short(call_id), own)) or frozenset()
        return _mark(field, from_last) in marks or _mark(field, None) in marks

    def hear_media(self, call_id: bytes, side: Side, ports: Iterable[int]) -> None:
        """A description from `side` has media at these ports of the other one's host, as only that one knows it."""
        key = short(call_id), self._peers.own(side.other).host
        marks = self._book.said.get(key) or frozenset()
        new: set[Hashable] = {_mark(b"sdp %d" % port, None) for port in ports} - marks
        if new:
            self._book.guessed.put((key[1], self._peers.own(side).host), True)
            self._book.said.put(key, marks | (new if len(marks) < MAX_MARKS else {_ANY_MEDIA}))

    def is_media(self, call_id: bytes, side: Side, port: int) -> bool:
        """Whether the other side, or one behind it, has had media in this call at this port of this side's host. So it
        is a proxy that forwards its description."""
        if not len(self._book.guessed):
            return False
        marks = self._book.said.get((short(call_id), self._peers.own(side).host)) or frozenset()
        return _mark(b"sdp %d" % port, None) in marks or _ANY_MEDIA in marks


def _mark(field: bytes, from_last: int | None) -> Hashable:
    """A place, as it is remembered. from_last: None for every place of the field."""
    return (field, from_last) if field in _LISTS else (_SAME.get(field, field), None)


_ANY_MEDIA = _mark(b"sdp", None)
