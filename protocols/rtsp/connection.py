"""What one connection speaks of: its sessions, from the first SETUP that is agreed to the last that is torn down.

A session may have begun on another connection, whose engine then hears of the end of its places (sessions.py). Here it
is found by its id, lives by each message, and ends: by TEARDOWN, by time, or with the last connection that knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocols.contract.addresses import Peers, Side
from protocols.contract.effects import Note, violation
from protocols.contract.pinholes import Closed
from protocols.rtsp import urls
from protocols.rtsp.agreement import Agreements
from protocols.rtsp.carrier import Carrier
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.sessions import MAX_SESSIONS, MAX_STREAMS, MAX_TIMEOUT, Key, Session, Stream, Table
from protocols.rtsp.setup import Asked, Change, Setups
from protocols.rtsp.wire import Head

LOOK_SECONDS = 30.0
"""How often an engine whose connection is gone looks whether another connection still speaks of its media."""


class Connection:
    """The sessions that one connection speaks of, and the SETUPs that ask for more."""

    __slots__ = ("_agreements", "_carrier", "_options", "_peers", "_table", "notes", "sessions", "setups")

    def __init__(self, peers: Peers, options: RtspOptions, setups: Setups, table: Table, carrier: Carrier) -> None:
        self._peers = peers
        self._options = options
        self._table = table
        self._carrier = carrier
        self._agreements = Agreements(peers, options, setups)
        self.setups = setups
        self.notes = setups.notes
        """What the log is to be told."""
        self.sessions: dict[bytes, Session] = {}
        """id -> the session."""

    # -- while they live ---------------------------------------------------------------------------------------------

    def named(self, name: bytes, now: float) -> Session | None:
        """The session that a message names, which lives by that. A message that names none is about all of them, and
        about the one to which its server gave no id."""
        if not name:
            for each in self.sessions.values():
                each.speak(self, now)
            return self.sessions.get(name)
        session = self.sessions.get(name)
        if session is None or session.cause:
            self.sessions.pop(name, None)
            session = self._table.sessions.get(self._key(name))
            if session is None or len(self.sessions) >= MAX_SESSIONS:
                return None
            self.sessions[name] = session
        session.speak(self, now)
        return session

    def _key(self, name: bytes) -> Key:
        return self._peers.client.host, self._peers.server, name

    def agree(
        self, asked: Asked, head: Head, name: bytes, timeout: int | None, agent: bytes, now: float
    ) -> Sequence[Change]:
        """SETUP has its 2xx, which gives or names a session (RT26). Returns what becomes of that answer."""
        session = self.named(name, now) or self._begin(asked, head, name, agent, now)
        if session is None or not session.takes(asked.url):
            self.setups.take_back(asked, now, is_retried=False)
            detail = f"more than {MAX_SESSIONS} sessions of a connection, or {MAX_STREAMS} streams of a session"
            self.notes.append(violation("rtsp.too_many", detail, "nothing opened"))
            return []
        if timeout:
            session.timeout = float(min(timeout, MAX_TIMEOUT))
        spec, at = self._agreements.chosen(head)
        stream, changes = self._agreements.agree(asked, session, spec, at, head, now)
        session.speak(self, now)
        if stream.kind == "interleaved":
            stream.interleave(self._carrier, (spec or asked.specs[0]).channels())
            for framer in self._carrier.framers.values():
                framer.frames = True
        elif stream.kind == "multicast":
            self.notes.append(Note("rtsp.multicast", {"rtsp_session": session.name, "url": urls.told(asked.url)}))
        return changes

    def _begin(self, asked: Asked, head: Head, name: bytes, agent: bytes, now: float) -> Session | None:
        """A server has given a session its id."""
        if len(self.sessions) >= MAX_SESSIONS:
            return None
        key = self._key(name)
        session = Session(key, asked.url, now, self._options)
        self.sessions[name] = self._table.sessions[key] = session
        facts = {"rtsp_session": session.name, "url": urls.told(asked.url), "user_agent": agent}
        self.notes.append(Note("rtsp.session", {**facts, "server_agent": head.first(b"server")[:200]}))
        return session

    def begun(self, session: Session, is_play: bool) -> None:
        """PLAY or RECORD has its 2xx. The first one is told."""
        if not (session.has_played if is_play else session.has_recorded):
            streams = [{"url": urls.told(one.url), "transport": one.kind} for one in session.streams.values()]
            event = "rtsp.play" if is_play else "rtsp.record"
            self.notes.append(Note(event, {"rtsp_session": session.name, "streams": streams}))
        session.has_played, session.has_recorded = session.has_played or is_play, session.has_recorded or not is_play

    @property
    def streams(self) -> Iterator[Stream]:
        """All that is agreed in its sessions."""
        return (stream for session in self.sessions.values() for stream in session.streams.values())

    @property
    def is_all_within(self) -> bool:
        """Whether media flows, and all of it in the connection itself (RT12)."""
        streams = list(self.streams)
        return bool(streams) and not self.setups.offers and all(one.carrier is self._carrier for one in streams)

    # -- ends --------------------------------------------------------------------------------------------------------

    def tear_down(self, url: bytes, name: bytes, now: float) -> None:
        """TEARDOWN is answered: of one stream, or of the whole session (RT31)."""
        named = [session for session in self.sessions.values() if session.key[2] == name or not name]
        for session in named:
            same = [one for one in session.streams.values() if one.url.rstrip(b"/") == url.rstrip(b"/")]
            if same and len(session.streams) > 1:
                self.notes += session.close(same[0], now)
            else:
                self.end(session, "teardown", now)

    def end(self, session: Session, cause: str, now: float) -> None:
        """A session is over."""
        self.notes += session.end(cause, now)
        self.forget(session)

    def forget(self, session: Session) -> None:
        """Its id means nothing any more."""
        self.sessions.pop(session.key[2], None)
        self._table.forget(session)

    def end_all(self, cause: str, now: float) -> None:
        """The connection is of no use any more, and what it speaks of ends with it."""
        for session in tuple(self.sessions.values()):
            self.end(session, cause, now)
        self.give_up_offers()

    def give_up_offers(self) -> None:
        """No SETUP gets an answer any more."""
        for stream in tuple(self.setups.offers):
            self.setups.give_up(stream)

    def lose(self, torn: set[bytes], now: float) -> None:
        """The connection is gone, or will be soon. What it carries itself is over. `torn` are sessions for which a
        TEARDOWN has no answer."""
        self.give_up_offers()
        for session in tuple(self.sessions.values()):
            session.lose(self, now)
            for stream in tuple(session.open):
                if stream.owner is self.setups and stream.offered is None:
                    self.notes += session.close(stream, now)
            if not session.open and not session.speakers:
                self.end(session, "teardown" if session.key[2] in torn else "lost", now)

    def used(self, number: int) -> None:
        """The first packet has come to a place that was opened here."""
        stream = self.setups.media.get(number)
        if stream is not None:
            stream.is_used = True

    def closed(self, number: int, event: Closed, now: float) -> Sequence[Note]:
        """A place that was opened here is gone."""
        stream = self.setups.closed(number)
        if stream is None:
            return ()
        is_answer = stream.answered is not None and stream.answered.id == number
        if event.heard is not None:
            stream.heard[Side.SERVER if is_answer else Side.CLIENT] = event.heard
        if is_answer:
            stream.answered = None
            return ()
        stream.offered = None
        if stream in self.setups.offers:
            self.setups.offers.remove(stream)
        session = stream.session
        if session is None:
            return ()
        notes = session.drop(stream, event, now)
        if session.cause:
            self.forget(session)
        return notes

    def stop(self, now: float) -> None:
        """Nothing is heard any more of what was opened here."""
        for number in tuple(self.setups.media):
            self.setups.closed(number)
        for session in tuple(self.sessions.values()):
            session.lose(self, now)
            for stream in tuple(session.open):
                if stream.owner is self.setups:
                    self.notes += session.drop(stream, None, now)
            if not session.open:
                self.end(session, "cut", now)

    # -- clocks ------------------------------------------------------------------------------------------------------

    def is_needed(self) -> bool:
        """Whether media goes on that was agreed here (RT6)."""
        return any(stream.session is not None for stream in self.setups.media.values())

    def deadlines(self, now: float) -> Iterator[float]:
        """When something is over, unless it is heard of."""
        yield from (one.expires_at for one in self.setups.offers if one.expires_at is not None)
        for session in self.sessions.values():
            at = session.deadline()
            if at is not None:
                yield at
            elif self not in session.speakers:  # another connection speaks of it, until that is lost, too
                yield now + LOOK_SECONDS

    def tick(self, now: float) -> None:
        """End what is over."""
        for stream in tuple(self.setups.offers):
            if stream.expires_at is not None and stream.expires_at <= now:
                self.setups.give_up(stream)
        for session in tuple(self.sessions.values()):
            if session.cause:
                self.forget(session)
            elif (at := session.deadline()) is not None and at <= now:
                self.end(session, session.overdue, now)
