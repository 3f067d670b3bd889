"""What all SIP engines of a daemon know together: calls, registrations, and the two names of each address.

A call's requests may come by another flow than its INVITE did, and a phone is called by whoever its registrar sends. So
these are kept beside the engines, which find them here; each belongs to the engine that began it, which also keeps its
time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from protocols.engine import Endpoint, Host

if TYPE_CHECKING:
    from protocols.sip_calls import Call

MAX_CALLS = 50_000
MAX_TEXTS = 200_000
"""Spellings remembered; the oldest ones go. A lost one is written in the usual form."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The newest entries of a table."""

    __slots__ = ("_entries", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = value
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, key: Key) -> Value | None:
        return self._entries.get(key)


@dataclass(slots=True)
class SipTable:
    calls: dict[tuple[bytes, bytes], Call] = field(default_factory=dict)
    """By Call-ID and the caller's tag."""
    media: dict[int, Call] = field(default_factory=dict)
    """The call of each open place for media, by the id of its grant."""
    outside: dict[tuple[Endpoint, Host], Endpoint] = field(default_factory=dict)
    """An address of a phone, and of ours -> where others know it on that, while a pinhole stands there."""
    inside: dict[Endpoint, Endpoint] = field(default_factory=dict)
    """The reverse."""
    uris: Recent[Endpoint, bytes] = field(default_factory=lambda: Recent(MAX_TEXTS))
    """How the phone itself spelled host and port in its Contact."""
    vias: Recent[tuple[bytes, Endpoint], bytes] = field(default_factory=lambda: Recent(MAX_TEXTS))
    """And in the Via of a transaction: by branch and the address that took its place."""
