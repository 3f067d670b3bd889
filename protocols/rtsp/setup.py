"""SETUP: what a client asks for, and the places that are held for it until there is an answer (agreement.py).

    SETUP  client_port=A       the client's place is held: at A itself, or with source NAT at ports of ours
    200    server_port=B       the server's place is joined to it: at B itself, or with destination NAT at ports of ours

What each must believe:
1) The server sends to where `client_port` says, and its client is known by `client_as_seen`: so the ports that go on
   are those of the client's place, and as many as there were (RT27).
2) The client compares the answer with what it asked for: so what was mapped in the request is mapped back (RT21).
3) The client sends to where `server_port` says, and takes media from `server_as_seen` alone.

House rules:
- Each side speaks for itself: an address of anybody else opens nothing (RT18, RT19).
- A place that stands is used again: for a SETUP that is repeated after 401, and for one that changes a stream (RT22,
  RT23). Nothing that is agreed changes before the 2xx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side, only
from protocols.contract.effects import Note, violation
from protocols.contract.pinholes import Codecs, Media, MediaGrant, Party, Pinholes, Refusal
from protocols.rtsp import transport
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.sessions import MAX_STREAMS, Session, Stream, Table
from protocols.rtsp.transport import At, Spec
from protocols.rtsp.wire import Head
from protocols.toolbox.spans import Span

CLIENT, SERVER = Side.CLIENT, Side.SERVER

OFFER_SECONDS = 60.0
"""How long the client's place waits for the answer."""
MAX_OFFERS = 32
"""Places of one connection that wait for an answer."""
RETRY_SECONDS = 10.0
"""How long it waits for the same SETUP with a password (RT23)."""

Change = tuple[Span, bytes]
"""Offsets into the message."""

_TRANSPORT = re.compile(rb"(?i)transport[^!-~]*+:")
"""Wherever this stands, live555 takes what follows for the field (RT44)."""


@dataclass(slots=True)
class Refused:
    """The SETUP does not go on."""

    code: int
    reason: bytes


UNSUPPORTED = Refused(461, b"Unsupported Transport")


@dataclass(slots=True, eq=False)
class Asked:
    """A SETUP that waits for its answer."""

    url: bytes
    specs: list[Spec]
    """What went on, in the client's order."""
    texts: dict[bytes, bytes]
    """What went on of the client's own -> how it spelled that (RT21)."""
    streams: list[Stream] = field(default_factory=list)
    """The places that it may be answered for."""
    places: dict[Spec, Stream] = field(default_factory=dict)
    """What went on -> the place that it needs."""
    changes: list[Change] = field(default_factory=list)


class Setups:
    """The SETUPs of one connection."""

    __slots__ = ("_options", "_peers", "_pinholes", "_table", "media", "notes", "offers")

    def __init__(self, peers: Peers, options: RtspOptions, pinholes: Pinholes, table: Table) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._table = table
        self.media: dict[int, Stream] = {}
        """id of a grant -> the stream whose place it is, for all places that were opened here and stand."""
        self.offers: list[Stream] = []
        """Streams that nobody has agreed to yet."""
        self.notes: list[Note] = []
        """What the log is to be told."""

    # -- what the client asks for ------------------------------------------------------------------------------------

    def ask(
        self, head: Head, session: Session | None, codecs: Codecs | None, number: int | None, now: float
    ) -> Asked | Refused:
        """A SETUP comes. `session` is the one that it names, if that is known; `codecs` are those that a description
        has for it; `number` is its CSeq."""
        spans = head.fields.get(b"transport", [])
        if len(spans) != 1:
            return self._refuse("rtsp.malformed", "SETUP without one Transport", Refused(400, b"Bad Request"))
        if session is not None and not session.takes(head.url):
            return self._refuse("rtsp.too_many", f"more than {MAX_STREAMS} streams of a session", UNSUPPORTED)
        value, start = head.value(spans[0]), spans[0].start
        try:
            specs = transport.read(value, head.is_2)
        except Malformed as bad:
            return self._refuse("rtsp.malformed", f"Transport: {bad}", Refused(400, b"Bad Request"))
        asked = Asked(head.url, [], {})
        changes: list[Change] = []
        for spec in specs:
            if (foreign := self._elsewhere(spec)) is not None and self._options.destination == "refuse":
                return self._refuse("rtsp.destination", f"SETUP has media sent to {foreign}", UNSUPPORTED)
        _, _, behind_start = (head.data + head.body).partition(b"\n")
        if len(_TRANSPORT.findall(behind_start)) != 1:
            detail = "SETUP with Transport where it is no field"
            return self._refuse("rtsp.malformed", detail, Refused(400, b"Bad Request"))
        media = _Wanted(head, session, codecs, number, now)
        for spec in specs:
            if self._goes_on(spec, asked, media):
                asked.specs.append(spec)
                changes += self._without_foreign(spec)
                changes += self._mapped(spec, asked, head)
        if not asked.specs:
            return UNSUPPORTED
        changes += _without(specs, asked.specs)
        asked.changes = [(Span(start + at.start, start + at.end), new) for at, new in sorted(changes)]
        return asked

    def _refuse(self, rule: str, detail: str, answer: Refused) -> Refused:
        self.notes.append(violation(rule, detail, f"answered {answer.code}"))
        return answer

    def _is_foreign(self, spec: Spec, host: Host | None) -> bool:
        """Whether the client may not have media sent there (RT18)."""
        if host in (self._peers.client.host, self._peers.client_as_seen.host):
            return False
        return not (spec.is_multicast and host is not None and host.is_multicast)

    def _elsewhere(self, spec: Spec) -> str | None:
        """Where a way would lead media to, if that is not the client."""
        for host, text, _, _ in spec.hosts():
            if self._is_foreign(spec, host):
                return str(host) if host is not None else ascii(text[:100].decode("latin-1"))
        return None

    def _without_foreign(self, spec: Spec) -> Iterator[Change]:
        """The changes by which no other host is named."""
        if (foreign := self._elsewhere(spec)) is not None:
            self.notes.append(violation("rtsp.destination", f"SETUP has media sent to {foreign}", "taken out"))
        for host, _, _, out in spec.hosts():
            if self._is_foreign(spec, host):
                yield out, b""

    def _goes_on(self, spec: Spec, asked: Asked, media: _Wanted) -> bool:
        """Whether the server may choose this way. If media is to flow by it to the client, its place is held."""
        options = self._options
        if spec.is_multicast or spec.is_tcp:
            rule = "rtsp.multicast_denied" if spec.is_multicast else "rtsp.interleaved_denied"
            if (options.multicast if spec.is_multicast else options.interleaved) == "deny":
                self.notes.append(violation(rule, f"SETUP for {spec.kind}", "taken out"))
                return False
            return True
        if options.force_interleaved:
            self.notes.append(violation("rtsp.udp_denied", "SETUP for UDP", "taken out"))
            return False
        ends = transport.ends(at_itself(spec.client), self._peers.client.host)
        if ends is None:
            return True  # the server may still choose multicast
        if (low := self.low(ends)) is not None:
            self.notes.append(violation("rtsp.low_port", f"SETUP names {low}", "taken out"))
            return False
        stream = self._place(spec, ends, asked, media)
        if stream is None:
            return False
        if stream not in asked.streams:
            asked.streams.append(stream)
            stream.waits += 1
            stream.expires_at = None
        asked.places[spec] = stream
        return True

    def _mapped(self, spec: Spec, asked: Asked, head: Head) -> Iterator[Change]:
        """The changes by which the server finds the client where it is known (RT27)."""
        if not self._peers.is_mapped(CLIENT) or spec.is_multicast:
            return
        own, seen = self._peers.client.host, self._peers.client_as_seen.host
        for host, text, at, _ in spec.hosts():
            if host == own:
                new = transport.text_of(seen, is_2=not text)
                asked.texts[new] = transport.text_of(own, is_2=not text)
                yield at, new
        stream = asked.places.get(spec)
        start = head.fields[b"transport"][0].start
        for end, port in ports_of(spec.client, stream.announced) if stream is not None else ():
            asked.texts[b"%d" % port] = head.value(moved(end.port_at, start))
            yield end.port_at, b"%d" % port

    def low(self, ends: tuple[Endpoint, Endpoint | None]) -> Endpoint | None:
        """The one of these with a port that is not for media."""
        return next((at for at in ends if at is not None and at.port < self._options.min_port), None)

    def _place(self, spec: Spec, ends: tuple[Endpoint, Endpoint | None], asked: Asked, media: _Wanted) -> Stream | None:
        """The client's place for these ports: the one that it has, or another one."""
        session, url = media.session, media.head.url
        agreed = session.streams.get(url) if session is not None else None
        standing: list[Stream] = [*asked.streams, *self.offers]
        if agreed is not None and agreed.owner is self:  # of another one the end would be told to another connection
            standing.append(agreed)
        for known in standing:
            if known.url == url and known.client == ends and known.offered is not None:
                return known
        if len(self.offers) >= MAX_OFFERS:
            self.notes.append(
                violation("rtsp.too_many", f"more than {MAX_OFFERS} streams without an answer", "taken out")
            )
            return None
        peers = self._peers
        seen = peers.client_as_seen.host if peers.is_mapped(CLIENT) else None
        party = Party(*ends, mapped=seen, allow=only(peers.client.host), host=peers.client.host, side=CLIENT)
        own = [one for one in session.open if one.owner is self] if session is not None else []
        part: Pinholes = next((one.part for one in own if one.part is not None), None) or self._pinholes.apart()
        grant = part.offer(
            Media(
                purpose="rtp" if spec.is_rtp else "stream",
                trigger="SETUP",
                party=party,
                idle_seconds=session.idle_seconds if session is not None else self._options.media_idle,
                open_seconds=OFFER_SECONDS,
                codecs=media.codecs,
                number=media.number,
            )
        )
        if isinstance(grant, Refusal):
            return None  # `pinhole.refused` says why
        stream = Stream(url, "udp", media.now, self, part, ends, grant)
        self.offers.append(stream)
        self.stands(grant, stream)
        return stream

    def stands(self, grant: MediaGrant, stream: Stream) -> None:
        """A place of this stream stands."""
        if grant.id not in self.media:
            self._table.media += 1
        self.media[grant.id] = stream

    def closed(self, number: int) -> Stream | None:
        """A place is gone. Returns whose it was."""
        stream = self.media.pop(number, None)
        if stream is not None:
            self._table.media -= 1
        return stream

    # -- places that are not agreed ----------------------------------------------------------------------------------

    def take_back(self, asked: Asked, now: float, is_retried: bool) -> None:
        """The SETUP was refused, so what was agreed before goes on (RT22). `is_retried`: it comes again, with a
        password."""
        for stream in asked.streams:
            stream.waits -= 1
            if stream.session is None and not stream.waits:
                if is_retried:
                    stream.expires_at = now + RETRY_SECONDS
                else:
                    self.give_up(stream)

    def give_up(self, stream: Stream) -> None:
        """Nobody agrees to this place."""
        if stream in self.offers:
            self.offers.remove(stream)
            if stream.part is not None and stream.offered is not None:
                stream.part.close(stream.offered, "not_agreed")

    def kept(self, what: str, value: Any, reason: str) -> None:
        """Tell the log of a value that opens nothing, or not what it says."""
        change = {"field": what, "value": None if value is None else str(value), "reason": reason}
        self.notes.append(Note("address.kept", {"message": "SETUP", "changes": [change]}))


@dataclass(slots=True)
class _Wanted:
    """What is known of the media that a SETUP asks for."""

    head: Head
    session: Session | None
    codecs: Codecs | None
    number: int | None
    now: float


def at_itself(found: Sequence[At]) -> tuple[At, ...]:
    """The ports, at the host of the party itself."""
    return tuple(at._replace(host=None) for at in found)


def moved(span: Span, by: int) -> Span:
    """The span where its text stands by so many bytes later."""
    return Span(span.start + by, span.end + by)


def ports_of(found: Sequence[At], ports: Sequence[int]) -> Iterator[tuple[At, int]]:
    """Each port that is written, with the one that takes its place. A port that is written twice is one."""
    for number, at in enumerate(found):
        if at.port and ports:
            yield at, ports[number if at.port != found[0].port and number < len(ports) else 0]


def _without(specs: Sequence[Spec], kept: Sequence[Spec]) -> Iterator[Change]:
    """The changes that take out the ways that may not be chosen, each with a comma."""
    has_one = False
    for spec in specs:
        if spec in kept:
            has_one = True
        elif has_one:
            yield Span(spec.span.start - 1, spec.span.end), b""
        else:
            yield Span(spec.span.start, spec.span.end + 1), b""
