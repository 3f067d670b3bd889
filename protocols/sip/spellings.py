"""How addresses were spelled: what all flows remember of them, so that each party gets its own words back.

A phone may leave its port out, write it with zeros, or put its IPv6 address in capitals, and wants its Via back as it
sent it (RFC 3261 s.8.1.3.3). Others are told an address of ours in the usual form; what they say of it later is given
back as the phone wrote it. A spelling that was lost, since peers may fill any table, is written in the usual form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.toolbox.memory import Memory, Recent
from protocols.toolbox.spans import Span

MAX_TEXTS = 200_000
"""The number of spellings that are remembered; the oldest ones go. A lost one is written in the usual form."""
MAX_MAPPED = 100_000
"""The number of values whose addresses are remembered as found and mapped. A lost one is read again."""
MAX_CALL_IDS = 50_000
MAX_ALIASES = 10_000
"""The number of remembered hosts that call themselves by another address than they signal from."""

MAX_MAPPED_BYTES = 256
"""The longest value that is remembered with what becomes of it. A phone has one Contact or two, and calls by few
routes."""

Change = tuple[Span, bytes]
"""A span of a message, and the bytes that take its place."""


class Mapped(NamedTuple):
    """What becomes of an address; spans are offsets into the value."""

    changes: tuple[Change, ...]
    known_as: tuple[tuple[Endpoint, Endpoint, bool], bytes] | None
    """How the party spelled an address, to be remembered for all flows. The key is the party's own address, the one
    that it is known as, and whether the port is told."""
    is_lasting: bool
    """The changes depend on the two hosts of the flow alone, so they are always the same."""
    is_own: bool = False
    """The value names the host that the message is from."""
    is_guess: bool = False
    """The value names the other side's host by its own address, which NAT hides from this side."""
    stands_in: bool = False
    """The address could not have a port of its own outside, so the one that its sender signals from stands in for
    it."""


class MappedVia(NamedTuple):
    """What becomes of a Via; spans are offsets into the value."""

    changes: tuple[Change, ...]
    answers: tuple[Endpoint, bool] | None
    """In a response, the sent-by by which it came, and whether that sent-by has a port; None in a request."""
    is_lasting: bool
    """The changes are always the same, as long as sent-by was spelled as usual."""


@dataclass(slots=True)
class Spellings:
    """How each party spelled what others know in another way, for all flows."""

    memory: Memory
    uris: Recent[tuple[Endpoint, Endpoint, bool], bytes] = field(init=False)
    """(own address, address as which others know it, whether they are told the port) -> how the phone itself spelled
    host and port in its Contact. A phone that has said both, with and without the port, means two URIs (RFC 3261
    s.19.1.4)."""
    stand_ins: Recent[tuple[Endpoint, bytes], bytes] = field(init=False)
    """(address that the sender signals from, the rest of the URI) -> host and port in a URI that was given that
    address."""
    vias: Recent[tuple[bytes, Endpoint, bool], bytes] = field(init=False)
    """(branch, address that took its place, whether the port is told) -> how sent-by was spelled in that Via."""
    mapped: Recent[tuple[int, Side, bool, object, bytes], Mapped] = field(init=False)
    """Values of fields, by the flow, and what becomes of them in it. Peers choose both, so no flow has room of its
    own."""
    mapped_vias: Recent[tuple[int, Side, bool, bool, int, bytes], MappedVia] = field(init=False)
    """Vias, by the flow, and what becomes of them in it."""
    call_ids: Recent[tuple[bytes, Host], bytes] = field(init=False)
    """(hidden Call-ID, host that is to have its own back) -> what that was."""
    aliases: Recent[tuple[Host, Host], bool] = field(init=False)
    """(address that a host signals from, another one by which it calls itself) -> true."""

    def __post_init__(self) -> None:
        memory = self.memory
        self.uris, self.vias = Recent(MAX_TEXTS, memory), Recent(MAX_TEXTS, memory)
        self.stand_ins, self.call_ids = Recent(MAX_TEXTS, memory), Recent(MAX_CALL_IDS, memory)
        self.mapped, self.mapped_vias = Recent(MAX_MAPPED, memory), Recent(MAX_MAPPED, memory)
        self.aliases = Recent(MAX_ALIASES, memory)
