"""Any engine, watched: nothing is changed, opened or refused, and the log says what would have been (`mode: observe`).

    bytes -> the engine -> notes                             -> the log, in words for what did not happen
       |                -> bytes, ends                       -> nowhere
       |                -> pinholes.open, offer, answer ...  -> granted, told to the log; nothing stands anywhere
       +-------------------------------------------------------> the other side, as they came

The daemon wraps the engines of every helper in `Engines` (`proxy/sessions/registry.py`), which looks at `mode` for each
session. A helper does nothing for it, as long as its options are derived from the contract's `Options`.

What an engine would have ended goes on unread. What it would have answered itself goes on as well, so that it may hear
an answer that it does not wait for: what the log tells of such a session afterwards is what the engine makes of that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, assert_never

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Copy, Effect, Finish, Note, Resolve, Send, Splice
from protocols.contract.engine import Counts, Engine, EngineFactory, Helper, Shares, Tallies, Tally
from protocols.contract.live import Call, Registration, Tells
from protocols.contract.pinholes import (
    AnyGrant,
    Closed,
    Expect,
    Grant,
    Media,
    MediaGrant,
    PinholeEvent,
    Pinholes,
    Refusal,
)
from protocols.toolbox.clock import Clock

MAX_STANDING = 64
"""How many pinholes of one session are taken to be open, as `limits: pinholes_per_session` would have it."""
OPEN_SECONDS = 60.0
"""How long an unused pinhole is taken to be open, unless its engine names another time."""
UNREAD_SECONDS = 180.0
"""How long a flow may be silent that nobody reads."""
IDLE_SECONDS = 4 * 3600.0
"""How long a session may be silent that its engine would have ended already."""

_WOULD_HAVE_BEEN = {"address.rewritten": "address.observed"}
"""Event of the log -> what the event is called when nothing was done."""


@dataclass(slots=True)
class _Shared:
    """What the observers of one helper share, because one session may close a pinhole that another one has opened."""

    numbers: count[int] = field(default_factory=lambda: count(1))
    """The numbers of grants."""
    now: float = 0.0
    """The time of the step that an engine is at. It may be about a pinhole that another one has opened."""
    closed: list[tuple[Engine, AnyGrant, Closed]] = field(default_factory=list)
    """Pinholes that are over, with the engines that are to hear of it."""


class Engines:
    """The engines of one helper in one daemon. Each works or observes, as the options of its policy say.

    The two kinds share nothing. A pinhole of an observer stands nowhere, and a working engine would announce it.
    """

    __slots__ = ("_active", "_observed", "_shared", "_tells")

    def __init__(self, helper: Helper, first: Engines | None = None) -> None:
        """first: those of the first helper of the same family, which tell of what is under way in all."""
        self._active: EngineFactory = helper.start() if first is None else first._active
        self._observed: EngineFactory = helper.start() if first is None else first._observed
        self._shared: _Shared = _Shared() if first is None else first._shared
        self._tells: Sequence[EngineFactory] = () if first is not None else (self._active, self._observed)

    def __call__(self, peers: Peers, options: Any, pinholes: Pinholes, now: float) -> Engine:
        if options.mode == "active":
            return self._active(peers, options, pinholes, now)
        if options.mode == "off":
            return Unread(IDLE_SECONDS if peers.transport is Transport.TCP else UNREAD_SECONDS)
        return Observer(self._observed, peers, options, pinholes, now, self._shared)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        total: Counter[str] = Counter()
        for engines in self._tells:
            if isinstance(engines, Counts):
                total.update(engines.counts())
        return total

    def calls(self) -> Iterator[Call]:
        """The calls that are under way. What an observer follows has no pinhole that stands anywhere."""
        if self._tells and isinstance(self._active, Tells):
            yield from self._active.calls()
        if self._tells and isinstance(self._observed, Tells):
            for call in self._observed.calls():
                yield replace(call, media=(), pinholes=_of_session(call.pinholes))

    def registrations(self) -> Iterator[Registration]:
        """The registrations that stand, as `calls`."""
        if self._tells and isinstance(self._active, Tells):
            yield from self._active.registrations()
        if self._tells and isinstance(self._observed, Tells):
            for one in self._observed.registrations():
                yield replace(one, grant=None, pinholes=_of_session(one.pinholes))

    def call_of(self, grant: int) -> Call | None:
        """The call whose media has this grant."""
        return self._active.call_of(grant) if isinstance(self._active, Tells) else None

    def tallies(self) -> Sequence[Tally]:
        """What both kinds have seen, together."""
        if not self._tells or not isinstance(self._active, Tallies) or not isinstance(self._observed, Tallies):
            return ()
        active, observed = self._active.tallies(), self._observed.tallies()
        return [
            one._replace(counts=_sum(one.counts, other.counts)) for one, other in zip(active, observed, strict=True)
        ]

    def standing(self) -> Mapping[str, int]:
        """What the engines of each kind share."""
        total: Counter[str] = Counter()
        for engines in self._tells:
            if isinstance(engines, Shares):
                total.update(engines.standing())
        return total


def engines_of(helpers: Mapping[str, Helper]) -> dict[str, Engines]:
    """The engines of all helpers of a daemon. Those of one family are joined."""
    found: dict[str, Engines] = {}
    first: dict[str, Engines] = {}
    for name, helper in helpers.items():
        found[name] = Engines(helper, first.get(helper.family) if helper.family else None)
        first.setdefault(helper.family, found[name])
    return found


def _sum(one: Mapping[tuple[str, ...], int], other: Mapping[tuple[str, ...], int]) -> Mapping[tuple[str, ...], int]:
    """Both counts together. Kinds of which there are none stay."""
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in {**one, **other}}


class Unread(Engine):
    """In the place of a helper's engine that is off: what comes goes on, and nothing is read."""

    __slots__ = ("_idle_seconds",)

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        return (Send(side.other, data), Splice(self._idle_seconds))


class Observer(Engine):
    """An engine that feeds an inner engine with all that comes, and performs none of its effects."""

    __slots__ = ("_book", "_has_ended", "_is_copied", "_is_stream", "_shared", "_start", "engine")

    def __init__(
        self,
        start: EngineFactory,
        peers: Peers,
        options: Any,
        pinholes: Pinholes,
        now: float,
        shared: _Shared,
    ) -> None:
        """start: makes the inner engine. pinholes: those of the session, asked only whether media may be at a third
        host."""
        self._shared = shared
        self._is_stream = peers.transport is Transport.TCP
        self._has_ended = False
        """The inner engine has ended the session, or reads no more."""
        self._book = _Book(self._closed, shared, pinholes)
        self._start = partial(start, peers, options, ObservedPinholes(self._book))
        self.engine = self._start(now)
        self._is_copied = False
        """The inner engine is to return copies of messages."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._has_ended:
            return (Send(side.other, data),)
        notes, ends = self._step(self.engine.receive, side, data, now=now)
        if ends and not self._is_stream:
            # The datagram may still be answered, and the answer finds its way back by this session alone. What comes
            # next would have been for an engine of another session.
            notes, ends = [*notes, *self.stop(now)], []
            self._has_ended, self.engine = False, self._start(now)
            self.engine.copy(self._is_copied)
        return (*notes, Send(side.other, data), *ends)

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        if self._has_ended:
            return (Finish(side.other),)
        notes, _ = self._step(self.engine.eof, side, now=now)
        return (*notes, Finish(side.other))

    def resolved(self, name: str, hosts: tuple[Host, ...], now: float) -> Sequence[Effect]:
        if self._has_ended:
            return ()
        notes, ends = self._step(self.engine.resolved, name, hosts, now=now)
        return (*notes, *ends)

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        return ()  # none of the session's pinholes is ever opened

    def deadline(self) -> float | None:
        if self._has_ended and not self.engine.is_needed():
            return None
        inner, own = self.engine.deadline(), self._book.clock.next()
        return own if inner is None else inner if own is None else min(inner, own)

    def tick(self, now: float) -> Sequence[Effect]:
        self._book.expire(now)
        deadline = self.engine.deadline()
        has_come = deadline is not None and deadline <= now
        notes, ends = self._step(self.engine.tick if has_come else lambda _: (), now=now)
        return (*notes, *ends)

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted
        self.engine.copy(is_wanted)

    def is_needed(self) -> bool:
        return self.engine.is_needed()

    def is_done(self) -> bool:
        return self.engine.is_done()

    def stop(self, now: float) -> Sequence[Effect]:
        notes, _ = self._step(self.engine.stop, now=now)
        self._book.close_all()
        return notes

    # -- what the inner engine wants -----------------------------------------------------------------------------------

    def _step(
        self, call: Callable[..., Sequence[Effect]], *arguments: Any, now: float
    ) -> tuple[list[Effect], list[Effect]]:
        """Tell the log of one step of the inner engine. If the inner engine ends the session, the session goes on
        unread."""
        self._shared.now = now
        told: list[Effect] = []
        ends: list[Effect] = []
        wanted = call(*arguments, now)
        while True:
            told += self._book.take_notes()
            self._sort(wanted, told, ends)
            if not self._shared.closed:
                break
            engine, grant, event = self._shared.closed.pop(0)
            wanted = engine.pinhole(grant, event, now)
        self._has_ended = self._has_ended or bool(ends)
        return told, ends[:1]

    def _closed(self, grant: AnyGrant, event: Closed) -> None:
        self._shared.closed.append((self.engine, grant, event))

    def _sort(self, wanted: Sequence[Effect], told: list[Effect], ends: list[Effect]) -> None:
        for effect in wanted:
            match effect:
                case Note():
                    told.append(_in_other_words(effect))
                case Resolve():
                    told.append(effect)
                case Abort(reason) | Close(reason):
                    ends.append(Splice(IDLE_SECONDS) if self._is_stream else Close(reason))
                case Splice():
                    ends.append(effect)
                case Copy(side, has_come) if has_come:
                    told += (effect, replace(effect, side=side.other, has_come=False))  # it goes on as it came
                case Send() | Finish() | Copy():
                    pass
                case _:
                    assert_never(effect)


def _in_other_words(note: Note) -> Note:
    """The note as the log has it when nothing was done."""
    if note.event == "violation" and note.facts["action"] != "passed":
        return replace(note, facts={**note.facts, "action": f"passed; else {note.facts['action']}"})
    if (event := _WOULD_HAVE_BEEN.get(note.event)) is not None:
        return replace(note, event=event)
    return note


def _of_session(pinholes: Pinholes) -> Pinholes:
    """The session's own pinholes, behind those that an observer has in their place."""
    return pinholes.session if isinstance(pinholes, ObservedPinholes) else pinholes


class _Book:
    """The pinholes that one observer takes to be open, and what the log is to hear of them."""

    __slots__ = ("clock", "ended", "notes", "session", "shared", "standing")

    def __init__(self, ended: Callable[[AnyGrant, Closed], None], shared: _Shared, session: Pinholes) -> None:
        """`ended` is called for each pinhole that is over. `shared` is what all observers of a helper have. `session`
        is the session's own, asked only whether media may be at a third host."""
        self.ended = ended
        self.shared = shared
        self.session = session
        self.clock = Clock[int]()
        """When each unused pinhole is over. The pinholes of a call or a registration last as long as the engine
        says."""
        self.notes: list[Note] = []
        self.standing: dict[int, AnyGrant] = {}

    def take_notes(self) -> list[Note]:
        notes, self.notes = self.notes, []
        return notes

    def expire(self, now: float) -> None:
        """Close the pinholes that would have waited in vain until now."""
        for number in tuple(self.clock.due(now)):
            self.ended(self.standing.pop(number), Closed("never_used", 0, 0, 0.0))

    def close_all(self) -> None:
        """The session is over. Its engine is not told."""
        self.standing.clear()
        self.clock = Clock()


class ObservedPinholes:
    """Stands in for the session's `Pinholes`. It grants whatever is asked for and tells the log what would have been
    opened, but no pinhole stands anywhere."""

    __slots__ = ("_book", "_of", "may_wait", "reached_as", "reached_at", "session")

    def __init__(self, book: _Book, of: Mapping[str, Any] | None = None) -> None:
        """`of` is what every line of the log about these pinholes says as well."""
        self._book = book
        self._of = of
        self.session = book.session
        self.may_wait = book.session.may_wait
        self.reached_as, self.reached_at = book.session.reached_as, book.session.reached_at

    def open(self, expect: Expect) -> Grant | Refusal:
        book = self._book
        if sum(isinstance(grant, Grant) for grant in book.standing.values()) >= MAX_STANDING:
            return Refusal("limit_per_session")
        listen = expect.listen if expect.listen.port else Endpoint(expect.listen.host, expect.target.port)
        self._tell(expect.purpose, expect.trigger, listen, expect.target, expect.allow)
        grant = Grant(next(book.shared.numbers), expect, listen)
        book.standing[grant.id] = grant
        if expect.uses is not None or expect.renewed_by_use:
            book.clock.set(grant.id, book.shared.now + (expect.open_seconds or expect.lasts_seconds or OPEN_SECONDS))
        return grant

    def offer(self, media: Media) -> MediaGrant:
        party = media.party
        data, control = (
            Endpoint(party.mapped or at.host, at.port) if at else None for at in (party.data, party.control)
        )
        self._tell(media.purpose, media.trigger, data or control, party.known, party.allow)
        return self._hold(MediaGrant(next(self._book.shared.numbers), media, data, control))

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant:
        return self.offer(media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant:
        return self._hold(replace(grant, media=media))

    def _hold(self, grant: MediaGrant) -> MediaGrant:
        self._book.standing[grant.id] = grant
        return grant

    def _tell(
        self, purpose: str, trigger: str, listen: Endpoint | None, target: Endpoint | None, allow: tuple[Network, ...]
    ) -> None:
        facts = {"purpose": purpose, "trigger": trigger, "listen": listen, "target": target, "allow": allow}
        self._book.notes.append(Note("pinhole.observed", facts, self._of))

    def confirm(self, grant: Grant) -> None:
        """Nothing is to be done, because no host is ever admitted."""

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        if self._book.standing.pop(grant.id, None) is not None:
            self._book.clock.forget(grant.id)
            self._book.ended(grant, Closed(reason, 0, 0, 0.0))

    def keep(self, seconds: float) -> None:
        """Nothing is to be done: no media is heard here, so media has no time of its own."""

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """An engine that renews a pinhole has a clock of its own for its end, unless use renews it, too."""
        if grant.expect.renewed_by_use and grant.id in self._book.standing:
            self._book.clock.set(grant.id, self._book.shared.now + seconds)
        else:
            self._book.clock.forget(grant.id)

    def apart(self, of: Mapping[str, Any] | None = None) -> Pinholes:
        """A part, such as a call. What stands in it counts for the whole."""
        return ObservedPinholes(self._book, of)
