"""What all SIP engines of a daemon know together: calls, registrations, and the two names of each address.

A call's requests may come by another flow than its INVITE did, and a phone is called by whoever its registrar sends. So
these are kept beside the engines, which find them here; each belongs to the engine that began it, which also keeps its
time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from protocols.contract.addresses import Endpoint, Host, Side, Transport
from protocols.contract.pinholes import AnyGrant, Closed, Party
from protocols.toolbox.memory import Held, KnownAs, Memory, Recent, Repeats

if TYPE_CHECKING:
    from protocols.sip.calls import Call
    from protocols.sip.contacts import Contact
    from protocols.sip.registrations import Name, Registrations
    from protocols.sip.rewrite import Mapped, MappedVia

MAX_CALLS = 50_000
MAX_TEXTS = 200_000
"""Spellings remembered; the oldest ones go. A lost one is written in the usual form."""
MAX_MAPPED = 100_000
"""Values whose addresses are found and mapped already. A lost one is read again."""
MAX_CALL_IDS = 50_000
MAX_ECHOES = 10_000
"""Dialogs, and pairs of hosts, in which one side has named the inside address of the other one. Nobody does that by
chance."""


class Rates:
    """Requests of each source and method in the current second, for each limit of its own: policies may differ."""

    __slots__ = ("_counts", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._counts: Counter[tuple[Host, str, int]] = Counter()

    def count(self, source: Host, method: str, limit: int, now: float) -> int:
        """With this one."""
        if int(now) != self._second:
            self._second = int(now)
            self._counts.clear()
        self._counts[source, method, limit] += 1
        return self._counts[source, method, limit]


@dataclass(slots=True)
class SipTable:
    calls: dict[tuple[bytes, bytes], list[Call]] = field(default_factory=dict)
    """By Call-ID and the caller's tag. More than one when it passes us several times, on its way to a server and on its
    way back."""
    calls_of: Counter[str] = field(default_factory=Counter)
    """How many there are by the client (`as_client`) whose sessions they are of."""
    unanswered: Counter[str] = field(default_factory=Counter)
    """How many places for media are held for calls of a client that nobody has answered."""
    media: dict[int, Call] = field(default_factory=dict)
    """The call of each open place for media, by the id of its grant."""
    announced: dict[Endpoint, Party] = field(default_factory=dict)
    """Where we announced media -> whose it is."""
    contacts: dict[tuple[Transport, Endpoint, Host], Contact] = field(default_factory=dict)
    """By the address of a phone, and that of ours under which others know it."""
    bindings: dict[tuple[Host, Host, bytes], dict[tuple[Registrations, Name], None]] = field(default_factory=dict)
    """What a phone has registered, by its host, its registrar's and the address of record."""
    inside: dict[tuple[Transport, Endpoint], Endpoint] = field(default_factory=dict)
    """Where others know a contact -> its own address."""
    memory: Memory = field(default_factory=Memory)
    """The budget for all that is remembered."""
    uris: Recent[tuple[Endpoint, Endpoint, bool], bytes] = field(init=False)
    """How the phone itself spelled host and port in its Contact: by its own, where others know it, and whether they are
    told the port; for one that has said both, with and without it, means two URIs (RFC 3261 s.19.1.4)."""
    stand_ins: Recent[tuple[Endpoint, bytes], bytes] = field(init=False)
    """Host and port in a URI that was given the address of its sender's signalling, by that address and the rest of the
    URI."""
    vias: Recent[tuple[bytes, Endpoint, bool], bytes] = field(init=False)
    """And in the Via of a transaction: by branch and the address that took its place."""
    mapped: Recent[tuple[int, Side, bool, object, bytes], Mapped] = field(init=False)
    """Values of fields, by the flow, and what becomes of them in it. Peers choose both, so they have no room of their
    own in each flow."""
    mapped_vias: Recent[tuple[int, Side, bool, bool, int, bytes], MappedVia] = field(init=False)
    """The same of Vias."""
    call_ids: Recent[tuple[bytes, Host], bytes] = field(init=False)
    """Hidden ones, each with the host that is to have its own back, and what they were."""
    repeats: Repeats = field(init=False)
    echoes: Recent[tuple[bytes, Host], frozenset[Hashable]] = field(init=False)
    """By Call-ID and the address of a host inside: in which fields the other side has named that address."""
    guessed: Recent[tuple[Host, Host], bool] = field(init=False)
    """Hosts inside whose addresses a host outside has named, each with that one."""
    aliases: Recent[tuple[Host, Host], bool] = field(init=False)
    """Hosts by the address that they signal from, with another one by which they call themselves."""
    answered: Recent[str, bool] = field(init=False)
    """Clients that made a call which somebody has answered."""
    flows: KnownAs = field(default_factory=KnownAs)
    held: Held = field(default_factory=Held)
    rates: Rates = field(default_factory=Rates)
    unheard: list[tuple[AnyGrant, Closed]] = field(default_factory=list)
    """What observers have closed of what only they have."""
    numbers: Iterator[int] = field(default_factory=count)
    """Of engines, and of grants that only observers have."""

    def __post_init__(self) -> None:
        memory = self.memory
        self.uris, self.vias = Recent(MAX_TEXTS, memory), Recent(MAX_TEXTS, memory)
        self.stand_ins, self.call_ids = Recent(MAX_TEXTS, memory), Recent(MAX_CALL_IDS, memory)
        self.mapped, self.mapped_vias = Recent(MAX_MAPPED, memory), Recent(MAX_MAPPED, memory)
        self.echoes, self.guessed, self.aliases = (Recent(MAX_ECHOES, memory) for _ in range(3))
        self.answered = Recent(MAX_ECHOES, memory)
        self.repeats = Repeats(memory)
