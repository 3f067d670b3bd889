"""H.323 over TCP: a connection of call signalling, and one of H.245 that belongs to a call.

H.225.0, H.245, H.323; ids in comments (HF8) are those of `protocols/FACTS.md`.

    client: TPKT | Q.931 | H.225.0        Setup first; then what both say         wire.py, signals.py
            h245Address                   a pinhole; what comes is read as below  ways.py
            fastStart, h245Control        places for media                        channels.py, media.py
    H.245:  TPKT | messages of H.245      of the call that the role names         channels.py

What the parties must believe:

1) Each finds the other's signalling, H.245 and media where messages say: at the other's own address, or at one of ours.
2) Nobody but the other party gets in, and media comes from where its partner has it (HF42).

House rules:
- A message is passed on with the octets that it came with; addresses alone are replaced, in place (HF17).
- What is announced stands before its message goes on. What cannot be read passes, and opens nothing.
- The stream is read from its first octet, and never searched for one (HF61).
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.addresses import Malformed, Peers, Side
from protocols.contract.effects import Abort, Close, Copy, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, PinholeEvent, Pinholes
from protocols.h323 import wire
from protocols.h323.calls import Call, CallBook
from protocols.h323.channels import TooMany
from protocols.h323.names import Draft, Names
from protocols.h323.options import H323Options
from protocols.h323.session import Session
from protocols.h323.signals import Refused, Signals
from protocols.h323.wanted import walkers
from protocols.h323.ways import Control
from protocols.h323.wire import Kind
from protocols.toolbox.copies import with_copies
from protocols.toolbox.packets import Packets

CLIENT, SERVER = Side.CLIENT, Side.SERVER

LINGER_SECONDS = 30.0
"""How long an H.245 connection may stay when its call is over: both ends take their leave on it. And how long what is
left of a signalling connection may stay that was waiting for the end of the H.245."""


def session_of(peers: Peers, options: H323Options, pinholes: Pinholes, book: CallBook) -> Session:
    """What the calls of a connection have in common."""
    names = Names(peers, book.registered, book.registrations)
    return Session(peers, options, pinholes, names, walkers(names.is_mapped), [])


class H323Engine(Engine):
    """One connection of call signalling."""

    __slots__ = (
        "_book",
        "_ended",
        "_has_begun",
        "_idle_at",
        "_is_copied",
        "_is_over",
        "_looks_at",
        "_options",
        "_out",
        "_packets",
        "_session",
        "_signals",
    )

    def __init__(self, peers: Peers, options: H323Options, pinholes: Pinholes, now: float, book: CallBook) -> None:
        self._options = options
        self._book = book
        self._session = session_of(peers, options, pinholes, book)
        self._signals = Signals(self._session, book)
        self._packets = {side: Packets(wire.length_of) for side in Side}
        self._out = Outbox()
        self._has_begun = False
        """The client has said something that H.323 begins with."""
        self._is_over = False
        self._is_copied = False
        self._ended: set[Side] = set()
        self._idle_at = now + options.setup_seconds
        """When the connection is over if no call is under way by then."""
        self._looks_at = now
        """When it looks whether its calls are over that have lost their signalling: their H.245 ends them, and nobody
        tells this connection."""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        packets = self._packets[side]
        packets.push(data)
        try:
            if side is SERVER and not self._has_begun:
                raise Malformed("the server speaks first")
            while not self._is_over and (packet := packets.pop()) is not None:
                if self._is_copied:
                    self._out.add(Copy(side, True, packet, b""))
                self._packet(side, packet, now)
        except Malformed as error:
            rule = "h323.malformed" if self._has_begun else "h323.not_h323"
            self._out.add(violation(rule, str(error), "closed"))
            self._end(Abort(rule.removeprefix("h323.")), now)
        return self._take(now)

    def _first(self, packet: bytes) -> bool:
        """The client's first packets. Returns whether this one is done with. Raises Malformed for what H.323 cannot
        begin with (HF8)."""
        kind = wire.read_signal(packet).kind if len(packet) > wire.HEADER_BYTES else None
        if kind == Kind.SETUP:
            self._has_begun = True
            if self._options.fixup == "auto" or not self._session.names.is_mapped:
                return False
            self._unwatched(packet, "fixup")
        elif kind not in (None, Kind.FACILITY):
            raise Malformed("the client does not begin with a Setup")
        elif self._options.traversal == "pass":
            self._unwatched(packet, "traversal")
        elif kind is None:
            self._out.send(SERVER, packet)  # a keep-alive (HF2): the Setup is still to come
        else:
            raise Malformed("the client begins with a Facility")
        return True

    def _unwatched(self, packet: bytes, why: str) -> None:
        """The connection is relayed unread from here on."""
        self._out.add(Note("h323.unread", {"why": why}))
        self._out.send(SERVER, packet + self._packets[CLIENT].rest())
        self._out.add(Splice(self._options.call_idle))
        self._is_over = True

    def _packet(self, side: Side, packet: bytes, now: float) -> None:
        """Pass one packet on. Raises Malformed if H.323 cannot begin with it."""
        if not self._has_begun and self._first(packet):
            return
        if len(packet) == wire.HEADER_BYTES:
            self._out.send(side.other, packet)
            return
        try:
            signal = wire.read_signal(packet)
            news = self._signals.message(side, packet, signal, now)
        except Refused as refused:
            self._take_notes()
            if side.other not in self._ended:  # else nothing goes to this side any more
                self._out.send(side, wire.release(packet, refused.identifier))
            if not any(call.ending is None for call in self._signals.calls.values()):
                self._end(Close("refused"), now)
            return
        except Malformed as error:
            self._unread(side, packet, str(error), now)
            return
        self._take_notes()
        self._out.send(side.other, news)

    def _unread(self, side: Side, packet: bytes, why: str, now: float) -> None:
        """A message cannot be read. It opens nothing."""
        is_denied = self._options.malformed == "deny"
        self._out.add(violation("h323.malformed", why, "closed" if is_denied else "passed"))
        if is_denied:
            self._end(Abort("malformed"), now)
        else:
            self._out.send(side.other, packet)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        """The calls of the connection go on while they have H.245 on another one (HF10)."""
        for call in tuple(self._signals.calls.values()):
            call.is_signalled = False
            call.lost(now)
        self._looks_at = now + LINGER_SECONDS
        self._ended.add(side)
        self._out.add(Finish(side.other))
        return self._take(now)

    def stop(self, now: float) -> Sequence[Effect]:
        for call in tuple(self._signals.calls.values()):
            call.end("stopped", now)
            call.media.forget()  # nobody tells of what is closed from now on
            call.tell(now)
        return self._take(now)

    def _end(self, how: Effect, now: float) -> None:
        """The connection is over, and all of its calls."""
        for call in tuple(self._signals.calls.values()):
            call.end("refused", now)
        self._take_notes()
        self._out.add(how)
        self._is_over = True

    def is_needed(self) -> bool:
        return any(call.is_needed for call in self._signals.calls.values())

    # -- what lasts ----------------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        for call in tuple(self._signals.calls.values()):
            call.pinhole(grant, event if isinstance(event, Closed) else None, now)
        return self._take(now)

    def deadline(self) -> float | None:
        calls = self._signals.calls.values()
        times = [at for call in calls if (at := call.deadline()) is not None]
        if not all(call.is_signalled for call in calls):
            times.append(self._looks_at)
        if not times and not self._is_over:
            return self._idle_at
        return min(times, default=None)

    def tick(self, now: float) -> Sequence[Effect]:
        for call in tuple(self._signals.calls.values()):
            call.tick(now)
        if now >= self._looks_at:
            self._looks_at = now + LINGER_SECONDS
        if (
            not self._is_over
            and now >= self._idle_at
            and not any(call.ending is None for call in self._signals.calls.values())
        ):
            self._end(Close("idle"), now)
        return self._take(now)

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    def _take_notes(self) -> None:
        for note in self._session.notes:
            self._out.add(note)
        self._session.notes.clear()

    def _take(self, now: float) -> list[Effect]:
        self._take_notes()
        if len(self._signals.calls) > 0:
            self._signals.tidy()
            self._idle_at = now + self._options.call_idle
        effects = self._out.take()
        return with_copies(effects) if self._is_copied else effects


class ControlEngine(Engine):
    """One connection of H.245. Its call is that of the connection which announced it."""

    __slots__ = ("_call", "_ended", "_has_ended", "_is_copied", "_is_over", "_looks_at", "_out", "_packets", "_turn")

    def __init__(self, role: Control, call: Call | None, now: float) -> None:
        """call: None if it is over."""
        self._call = call
        # The client of this connection is who has dialled, whichever side of the call that is.
        is_same = role.dialler == CLIENT.value
        self._turn = {side: side if is_same else side.other for side in Side}
        self._packets = {side: Packets(wire.length_of) for side in Side}
        self._out = Outbox()
        self._is_copied = self._is_over = self._has_ended = False
        self._ended: set[Side] = set()
        self._looks_at = now if call is None else now + LINGER_SECONDS
        """When it looks whether its call is over: the signalling connection ends that, and nobody tells this one."""
        if call is not None:
            call.controls += 1

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if self._call is None:
            return self._over("no_call")
        packets = self._packets[side]
        packets.push(data)
        try:
            while not self._is_over and (packet := packets.pop()) is not None:
                if self._is_copied:
                    self._out.add(Copy(side, True, packet, b""))
                self._packet(self._call, side, packet, now)
        except Malformed as error:
            self._out.add(violation("h323.malformed", str(error), "closed"))
            self._out.add(Abort("malformed"))
            self._is_over = True
        return self._take()

    def _packet(self, call: Call, side: Side, packet: bytes, now: float) -> None:
        if call.ending is not None:  # the ends take their leave; nothing of it may stand again
            self._out.send(side.other, packet)
            return
        call.ways.connected()
        call.touch(now)
        turned = self._turn[side]
        draft = Draft(packet)
        try:
            call.channels.messages(turned, packet[wire.HEADER_BYTES :], draft, wire.HEADER_BYTES, now)
        except TooMany as error:
            detail = f"openLogicalChannel: channel {error.number}"
            call.session.violates("h323.too_many_channels", detail, "refused")
            self._notes(call)
            if side.other not in self._ended:
                self._out.send(side, wire.reject(error.number))
            return
        except Malformed as error:
            if call.session.options.malformed == "deny":
                raise
            call.session.violates("h323.malformed", f"H.245: {error}", "passed")
        for event, facts in draft.notes():
            call.session.note(event, facts)
        self._notes(call)
        self._out.send(side.other, draft.written)

    def _notes(self, call: Call) -> None:
        for note in call.session.notes:
            self._out.add(note)
        call.session.notes.clear()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        self._leave(now)
        self._ended.add(side)
        self._out.add(Finish(side.other))
        return self._take()

    def stop(self, now: float) -> Sequence[Effect]:
        self._leave(now)
        return self._take()

    def _leave(self, now: float) -> None:
        """The connection is gone. With the last one of a call that has no signalling any more the call is over."""
        if self._call is not None and not self._has_ended:
            self._has_ended = True
            self._call.controls -= 1
            self._call.ways.disconnected()
            self._call.lost(now)
            self._notes(self._call)

    def deadline(self) -> float | None:
        if self._is_over:
            return None
        closing = self._call.channels.next() if self._call is not None else None
        return self._looks_at if closing is None else min(self._looks_at, closing)

    def tick(self, now: float) -> Sequence[Effect]:
        """A connection without a call is over, after the time that its ends take to say so."""
        call = self._call
        if call is None:
            return self._over("no_call")
        call.channels.due(now)
        if now >= self._looks_at:
            since = now if call.ending is None else call.touched_at
            if now >= since + LINGER_SECONDS:
                return self._over("call_over")
            self._looks_at = since + LINGER_SECONDS
        return ()

    def _over(self, reason: str) -> Sequence[Effect]:
        self._is_over = True
        return (Close(reason),)

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    def _take(self) -> list[Effect]:
        effects = self._out.take()
        return with_copies(effects) if self._is_copied else effects
