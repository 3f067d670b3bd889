"""What is remembered of the places for media: of one medium, of one offer, and of all calls of a daemon.

A *place* is where one party's media comes to on this gateway: a pinhole for media (`MediaGrant`). A *slot* is one m=
line of a call, in which each party has its place. An *offer* says what becomes of them when it is answered (offers.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from protocols.contract import pinholes
from protocols.contract.addresses import Endpoint
from protocols.contract.pinholes import Closed, Heard, MediaGrant, Party
from protocols.sdp.parties import Role
from protocols.toolbox.memory import Memory, Recent

MAX_ANSWERED = 10_000
"""Of so many clients it is remembered that somebody has answered one of their calls."""

Of = TypeVar("Of")
"""A call, as the book of its media knows it."""


@dataclass(slots=True, eq=False)
class Place:
    """A party's place for one medium."""

    grant: MediaGrant
    number: int
    """The number of the slot that the place is in."""
    role: Role
    is_counted: bool
    """The place counts against MAX_UNANSWERED_PLACES of the client."""
    is_used: bool = False
    """Packets have come to the place."""


@dataclass(slots=True, eq=False)
class Slot:
    """One m= line of a call."""

    offerer: Role
    places: dict[tuple[Role, bytes], Place] = field(default_factory=dict)
    """(role, tag of the callee) -> place. The tag is empty for the party that offered first: it has one place for all
    who answer."""
    is_on_hold: bool = False
    """What was offered has no place. The party that answered has a place without a partner, and gets the partner with
    the next offer."""

    def place(self, role: Role, tag: bytes) -> Place | None:
        return self.places.get((role, b"" if role is self.offerer else tag))


@dataclass(slots=True, eq=False)
class Offer:
    """An offer, and what it changes when it is answered."""

    by: Role
    tag: bytes
    """The tag of the callee that makes the offer, or to whom it is made."""
    is_open: bool = True
    """The offer has no answer yet."""
    wanted: dict[int, pinholes.Media] = field(default_factory=dict)
    """slot -> what the offerer's place becomes if the offer is answered."""
    fresh: dict[int, Slot] = field(default_factory=dict)
    """Slots that are new, and gone if the offer is refused. A slot that is to replace another waits for the answer."""
    joined: list[Place] = field(default_factory=list)
    """Places in slots where the other party had a place alone. They are gone if the offer is refused, too."""
    removed: frozenset[int] = frozenset()
    """Slots that are gone once the offer is agreed, because the offerer has given them up."""
    declined: frozenset[int] = frozenset()
    """Slots that are gone once the offer is agreed, because the answerer does not take them."""
    before: dict[Place, pinholes.Media] = field(default_factory=dict)
    """place -> what the place was before a provisional answer changed it."""


@dataclass(slots=True)
class Totals:
    """What has passed in one medium of a call, by the party that received it."""

    packets_to: dict[Role, int] = field(default_factory=dict)
    bytes_to: dict[Role, int] = field(default_factory=dict)
    heard_by: dict[Role, Heard] = field(default_factory=dict)
    """How RTP came to the party, if there was any."""

    def add(self, role: Role, event: Closed) -> None:
        self.packets_to[role] = self.packets_to.get(role, 0) + event.packets_in
        self.bytes_to[role] = self.bytes_to.get(role, 0) + event.bytes_in
        if event.heard is not None:
            before = self.heard_by.get(role)
            self.heard_by[role] = event.heard if before is None else before.plus(event.heard)

    def facts(self) -> dict[str, Any]:
        """The totals as the log has them."""
        return {
            **{name: self.packets_to.get(role, 0) for name, role in _PACKETS_TO},
            **{name: self.bytes_to.get(role, 0) for name, role in _BYTES_TO},
            **{name: value for role, heard in self.heard_by.items() for name, value in _quality(role, heard)},
        }


_PACKETS_TO = tuple((f"packets_to_{role.value}", role) for role in Role)
_BYTES_TO = tuple((f"bytes_to_{role.value}", role) for role in Role)
"""Names of fields of the log, which are made once and not at the end of each call."""


def _quality(role: Role, heard: Heard) -> Iterator[tuple[str, Any]]:
    """How RTP came to a party, as the log has it."""
    yield f"lost_to_{role.value}", heard.lost
    yield f"jitter_seconds_to_{role.value}", heard.jitter_seconds
    yield f"codec_to_{role.value}", heard.codec


@dataclass(slots=True)
class MediaBook(Generic[Of]):
    """The media of all calls of a daemon."""

    memory: Memory
    unanswered: Counter[str] = field(default_factory=Counter)
    """client -> the number of places that are held for its calls that nobody has answered."""
    media: dict[int, Of] = field(default_factory=dict)
    """id of a grant -> the call whose place it is, for all places that are open."""
    announced: dict[Endpoint, Party] = field(default_factory=dict)
    """address at which we announced media -> the party whose media it is."""
    answered: Recent[str, bool] = field(init=False)
    """The clients that made a call which somebody has answered."""

    def __post_init__(self) -> None:
        self.answered = Recent(MAX_ANSWERED, self.memory)
