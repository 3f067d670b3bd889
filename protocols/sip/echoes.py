"""Remembers addresses that one side has said and the other side repeats. An echo comes back as it was said.

A client outside may put any address into a request to a server inside. The answer repeats some fields (Record-Route,
Path, To; RFC 3261 s.12.1.1, RFC 3327), and later requests go by others (Route, Request-URI). If we mapped the server's
own address there, the client would read from the answer which of its guesses was right. So this module remembers in
which fields a side has named the other side by its inside address. Nobody does so by chance, and for all other dialogs
nothing is kept.

A proxy inside may have put its own Record-Route on top of the client's, with the same address in it. So values of lists
are told apart by their place. The place is counted from the last value, because proxies only ever add at the beginning.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from protocols.contract.addresses import Host, Peers, Side
from protocols.toolbox.memory import Memory, Recent, short

MAX_ECHOES = 10_000
"""The most dialogs, and pairs of hosts, that are remembered because one side has named the inside address of the other.
Nobody does that by chance."""
MAX_MARKS = 64
"""The most places remembered of one dialog. In a field with more of them, every value is taken for an echo."""

_LISTS = frozenset((b"record-route", b"path"))
_SAME = {b"from": b"identity", b"to": b"identity"}
"""From of a request stands as From in its response, and as To in a request of the other party. So both fields share one
name."""
_FROM_ANY_DIALOG = frozenset((b"request-uri", b"route"))
"""Fields that say where a message is sent to. Their address may come from a Contact, a Refer-To or a Service-Route of
another dialog. A host does not name itself there."""


@dataclass(slots=True)
class EchoBook:
    """What sides have said of each other's hosts, for all flows."""

    memory: Memory
    said: Recent[tuple[bytes, Host], frozenset[Hashable]] = field(init=False)
    """(Call-ID, address of a host inside) -> the fields in which the other side has named that address."""
    guessed: Recent[tuple[Host, Host], bool] = field(init=False)
    """(host inside, host outside that has named its inside address) -> True."""

    def __post_init__(self) -> None:
        self.said, self.guessed = Recent(MAX_ECHOES, self.memory), Recent(MAX_ECHOES, self.memory)


class Echoes:
    """What each side of one flow has said of the other side's host."""

    __slots__ = ("_book", "_peers")

    def __init__(self, peers: Peers, book: EchoBook) -> None:
        self._peers = peers
        self._book = book

    @property
    def are_any(self) -> bool:
        """Whether any host has said an address that the other side alone knows. Nobody does so by chance."""
        return len(self._book.guessed) > 0

    def hear(self, call_id: bytes, side: Side, field: bytes, from_last: int | None = 0) -> None:
        """A message from `side` names the other side's host by the address that only the other side knows. from_last:
        the place of the value in its list. None: the value cannot be read, so the address is an echo wherever it
        stands."""
        named, by = self._peers.own(side.other).host, self._peers.own(side).host
        self._book.guessed.put((named, by), True)
        key = short(call_id), named
        marks = self._book.said.get(key) or frozenset()
        mark = _mark(field, from_last if len(marks) < MAX_MARKS else None)
        if mark not in marks:
            self._book.said.put(key, marks | {mark})

    def is_one(self, call_id: bytes, side: Side, field: bytes, method: bytes, from_last: int = 0) -> bool:
        """Whether a value is an echo: it stands in a message from `side`, names that side's own host, and the other
        side said it first."""
        if not len(self._book.guessed):
            return False
        own, other = self._peers.own(side).host, self._peers.own(side.other).host
        if field in _FROM_ANY_DIALOG or (field == b"referred-by" and method != b"REFER"):
            return self._book.guessed.get((own, other)) is not None
        marks = self._book.said.get((short(call_id), own)) or frozenset()
        return _mark(field, from_last) in marks or _mark(field, None) in marks

    def hear_media(self, call_id: bytes, side: Side, ports: Iterable[int]) -> None:
        """A description from `side` has media at these ports of the other side's host, by the address that only the
        other side knows."""
        key = short(call_id), self._peers.own(side.other).host
        marks = self._book.said.get(key) or frozenset()
        new: set[Hashable] = {_mark(b"sdp %d" % port, None) for port in ports} - marks
        if new:
            self._book.guessed.put((key[1], self._peers.own(side).host), True)
            self._book.said.put(key, marks | (new if len(marks) < MAX_MARKS else {_ANY_MEDIA}))

    def is_media(self, call_id: bytes, side: Side, port: int) -> bool:
        """Whether the other side, or a party behind it, has had media in this call at this port of this side's host. If
        so, this side is a proxy that forwards the other side's description."""
        if not len(self._book.guessed):
            return False
        marks = self._book.said.get((short(call_id), self._peers.own(side).host)) or frozenset()
        return _mark(b"sdp %d" % port, None) in marks or _ANY_MEDIA in marks


def _mark(field: bytes, from_last: int | None) -> Hashable:
    """A place in the form in which it is remembered. from_last: None stands for every place of the field."""
    return (field, from_last) if field in _LISTS else (_SAME.get(field, field), None)


_ANY_MEDIA = _mark(b"sdp", None)
