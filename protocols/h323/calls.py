"""Calls: what is known of each, and all that are under way in a daemon (HF9, HF10).

A call belongs to the signalling connection that it began on. Its H.245 may have a connection of its own, which finds
the call by its number. It is over with ReleaseComplete, or when the last of its connections is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from protocols.contract import live
from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.effects import Effect
from protocols.contract.pinholes import AnyGrant, Closed, Grant, Pinholes
from protocols.h323.channels import Channels
from protocols.h323.media import CallMedia
from protocols.h323.session import Session
from protocols.h323.ways import Ways
from protocols.toolbox.rates import PerSecond

MAX_ALIAS = 64
"""How many characters of a name are kept."""


class Call:
    """One call."""

    __slots__ = (
        "began_at",
        "book",
        "callee",
        "caller",
        "caller_side",
        "channels",
        "controls",
        "ending",
        "facts",
        "id",
        "is_signalled",
        "is_told",
        "media",
        "number",
        "part",
        "session",
        "started_at",
        "touched_at",
        "ways",
    )

    def __init__(self, book: CallBook, session: Session, caller_side: Side, identifier: bytes, now: float) -> None:
        self.book = book
        self.session = session
        self.number = next(book.numbers)
        self.id = identifier
        """The CallIdentifier that its parties gave it. Some give zeros."""
        self.caller_side = caller_side
        self.caller = self.callee = ""
        self.began_at = self.touched_at = now
        self.started_at: float | None = None
        self.ending: str | None = None
        self.is_told = False
        self.is_signalled = True
        """Its signalling connection stands."""
        self.controls = 0
        """How many connections of H.245 it has."""
        self.facts: dict[str, Any] = {}
        """What the log is told of how it was set up."""
        self.part: Pinholes = session.pinholes.apart({"call_id": self.name})
        options = session.options
        terms = options.setup_seconds, options.media_idle
        self.media = CallMedia(self.part, terms, session.party, book.media, self)
        self.ways = Ways(session, self.part)
        self.channels = Channels(session, self.media, self.ways)
        book.enter(self)

    @property
    def name(self) -> bytes:
        """The call by its identifier, as the log has it."""
        return self.id.hex().encode()

    # -- its life ------------------------------------------------------------------------------------------------------

    def touch(self, now: float) -> None:
        """A message of the call has passed, so its media may be silent."""
        self.touched_at = now
        self.part.keep(self.session.options.call_idle)

    def start(self, now: float) -> None:
        """The callee has taken the call."""
        if self.started_at is None and self.ending is None:
            self.started_at = now
            facts = {"call_id": self.name, "from": self.caller or None, "to": self.callee or None, **self.facts}
            self.session.note("call.started", facts)
        self.media.settle()

    def end(self, reason: str, now: float) -> None:
        """The call is over, and its media with it. A second time this has no effect."""
        if self.ending is None:
            self.ending = reason
            self.touched_at = now
            self.book.leave(self)
            self.ways.close_all()
            self.media.close_all()
            self.tell(now)

    def lost(self, now: float) -> None:
        """One of its connections is gone."""
        if not self.is_signalled and not self.controls:
            self.end("connection_lost", now)

    def tell(self, now: float) -> None:
        """Tell the log of the call's end when its last medium is closed, and counted."""
        if self.ending is None or len(self.media) or self.is_told:
            return
        self.is_told = True
        facts: dict[str, Any] = {"call_id": self.name}
        if self.started_at is not None:
            seconds = round(now - self.started_at, 3)
            streams = self.media.totals(self.caller_side)
            self.session.note(
                "call.ended", facts | {"reason": self.ending, "duration_seconds": seconds, "streams": streams}
            )
        else:
            facts |= {"from": self.caller or None, "to": self.callee or None, "code": None, "reason": self.ending}
            self.session.note("call.failed", facts | {"duration_seconds": round(now - self.began_at, 3)})

    def deadline(self) -> float | None:
        """When something of the call is over by time."""
        if self.ending is not None:
            return None
        closing = self.channels.next()
        return self._over_at if closing is None else min(self._over_at, closing)

    @property
    def _over_at(self) -> float:
        """When it is over if nothing more is said."""
        options = self.session.options
        return self.began_at + options.setup_seconds if self.started_at is None else self.touched_at + options.call_idle

    def tick(self, now: float) -> None:
        """Its time has come, perhaps."""
        if self.ending is not None:
            return
        self.channels.due(now)
        options = self.session.options
        if now < self._over_at:
            return
        if self.started_at is None:
            self.end("not_answered", now)
        elif len(self.media):  # as long as its media is heard, it goes on
            self.touched_at = now - options.call_idle + options.media_idle
        else:
            self.end("idle", now)

    def pinhole(self, grant: AnyGrant, event: Closed | None, now: float) -> None:
        """Somebody has come to a pinhole of the call, or it is gone."""
        if isinstance(grant, Grant):
            if event is None:
                self.ways.used(grant, now)
            else:
                self.ways.gone(grant)
        elif event is not None:
            self.media.gone(grant, event)
            self.tell(now)

    @property
    def is_needed(self) -> bool:
        """Whether it goes on without its signalling connection."""
        if self.ending is None:
            return self.controls > 0
        return not self.is_told or len(self.ways) > 0

    def live(self) -> live.Call:
        """The call as operators see it."""
        return live.Call(
            live.name_of(self.id, self.number), self.name, self.caller.encode(), self.callee.encode(),
            self.session.direction(self.caller_side),
            "ending" if self.ending else "ringing" if self.started_at is None else "established",
            self.began_at, self.started_at, self._over_at, self.media.grants, self.session.pinholes,
        )  # fmt: skip


class Registered(Protocol):
    """An endpoint that can be called."""

    own: Endpoint
    """Its own signalling address."""
    gatekeeper: Host

    def admit(self, caller: Host, now: float) -> float | None:
        """A gatekeeper has told this host to call it. Returns until when it may; None: options do not say so."""

    def dismiss(self, caller: Host, until: float, now: float) -> None:
        """This host may call it no more, unless it was told again that it may."""

    def give_way(self) -> None:
        """The endpoint registers anew, in another session."""

    def live(self) -> live.Registration:
        """The registration as operators see it."""


class Asking(Protocol):
    """A session of RAS whose answers come in another one."""

    def passed(self, side: Side, data: bytes, now: float) -> tuple[bytes | None, list[Effect]]:
        """What a datagram becomes on the other side, None if it does not go on; and what is noted of it."""

    def deadline(self) -> float | None:
        """When `tick` is to be called next."""

    def tick(self, now: float) -> Sequence[Effect]:
        """The time of something may be over."""


class Hearing(Protocol):
    """The places for answers to one session of RAS."""

    number: int
    """Of the session."""

    def give_way(self, own: Endpoint, is_mapped: bool) -> None:
        """The endpoint asks in another session for what it hears at this address. is_mapped: the two places have
        addresses of their own outside."""


@dataclass(slots=True)
class CallBook:
    """What all engines of H.323 and RAS in a daemon know together."""

    calls: dict[int, Call] = field(default_factory=dict)
    """By their numbers: all that are not over."""
    registered: dict[tuple[Endpoint, Host], Endpoint] = field(default_factory=dict)
    """An endpoint's own signalling address, and an address of ours -> where it is known there; and the other way
    round."""
    media: dict[int, Call] = field(default_factory=dict)
    """id of a grant -> the call whose place it is."""
    registrations: dict[Endpoint, Registered] = field(default_factory=dict)
    """Where an endpoint is known outside -> its registration."""
    asking: dict[int, Asking] = field(default_factory=dict)
    """By their numbers: the sessions of RAS whose answers go to another port."""
    hearing: dict[tuple[Endpoint, Host, Host], dict[Endpoint, tuple[Hearing, Side]]] = field(default_factory=dict)
    """Where an endpoint hears answers, an address of ours at which that is known, and who answers -> by where it is
    known there, the latest one last: whose place that is, and the endpoint's side of the session that has asked."""
    numbers: count[int] = field(default_factory=lambda: count(1))
    setups: PerSecond[str] = field(default_factory=PerSecond)
    """Setups of each host."""
    requests: PerSecond[str] = field(default_factory=PerSecond)
    """Requests of RAS of each host."""

    def register(self, own: Endpoint, seen: Endpoint) -> None:
        """An endpoint can be called there."""
        self.registered[own, seen.host] = seen
        self.registered[seen, own.host] = own

    def unregister(self, own: Endpoint, seen: Endpoint) -> None:
        """It can be called there no more."""
        if self.registered.get((own, seen.host)) == seen:  # else another gatekeeper knows it there
            del self.registered[own, seen.host]
        if self.registered.get((seen, own.host)) == own:
            del self.registered[seen, own.host]

    def enter(self, call: Call) -> None:
        """A call has begun."""
        self.calls[call.number] = call

    def leave(self, call: Call) -> None:
        """It is over."""
        self.calls.pop(call.number, None)
