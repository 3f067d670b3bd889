"""What is agreed: sessions and their streams, which may outlive the connection that they began on (RFC 2326 s.3.4;
RT6).

    SETUP            the client's place is held       nobody gets in yet           a Stream without a Session
    its 2xx          the server's place is joined     media passes both ways       the Stream is in its Session
    TEARDOWN's 2xx   the places are closed            `rtsp.stream`, and with the last one `rtsp.ended`

A session is known by its id, its client's host and its server; whoever comes from elsewhere and names the id knows
nothing of it. Any connection between the two may speak of it. The engine that opened a place hears of its end,
whichever engine has closed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Side
from protocols.contract.effects import Note
from protocols.contract.live import name_of
from protocols.contract.pinholes import Closed, Heard, MediaGrant, Pinholes
from protocols.rtsp.carrier import Carrier
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.urls import told
from protocols.toolbox.memory import Held

DEFAULT_TIMEOUT = 60
"""Seconds, if the server says nothing (RFC 2326 s.12.37)."""
MAX_TIMEOUT = 3600
MAX_STREAMS = 16
"""Streams of one session."""
MAX_SESSIONS = 8
"""Sessions that one connection speaks of."""

Key = tuple[Host, Endpoint, bytes]
"""The client's host, the server, and the id that the server gave."""

Counts = tuple[int, int]
"""Packets and bytes."""
PASSED = ("packets_to_client", "bytes_to_client", "packets_to_server", "bytes_to_server")
"""What lines about a stream and about its session count."""


@dataclass(slots=True, eq=False)
class Stream:
    """Media of one URL: offered by a SETUP, and agreed by the answer to it."""

    url: bytes
    kind: str
    """udp, interleaved or multicast, as the log has it."""
    began_at: float
    owner: object
    """Whose places it has: the one that opens pinholes for its connection."""
    part: Pinholes | None = None
    """Where its places are opened. None: it needs none."""
    client: tuple[Endpoint, Endpoint | None] | None = None
    """Where the client takes data and control."""
    offered: MediaGrant | None = None
    """The place of the client."""
    answered: MediaGrant | None = None
    """The place of the server."""
    server: Endpoint | None = None
    """Where the server takes data, if it has said so."""
    session: Session | None = None
    """None: it is not agreed."""
    is_used: bool = False
    """Packets have come to one of its places. From then on silence ends it, which its places know (RT29)."""
    waits: int = 0
    """How many SETUPs that ask for it have no answer."""
    expires_at: float | None = None
    """When it is given up, because nobody asks for it again."""
    carrier: Carrier | None = None
    """The connection that carries it. None: it flows elsewhere."""
    channels: tuple[int, ...] = ()
    before: dict[tuple[Side, int], Counts] = field(default_factory=dict)
    """What its channels had carried when it began."""
    heard: dict[Side, Heard] = field(default_factory=dict)
    """How RTP came to a side."""

    @property
    def announced(self) -> tuple[int, ...]:
        """The ports at which the server finds the client."""
        grant = self.offered
        places = (grant.data, grant.control) if grant is not None else ()
        return tuple(at.port for at in places if at is not None)

    def carried(self) -> Iterator[tuple[Side, int, Counts]]:
        """What the channels have carried so far, by the side that said it."""
        for side, framer in self.carrier.framers.items() if self.carrier is not None else ():
            for channel in self.channels:
                packets, size = framer.counts.get(channel, (0, 0))
                yield side, channel, (packets, size)

    def interleave(self, carrier: Carrier, channels: tuple[int, ...]) -> None:
        """The connection carries it from now on."""
        self.carrier, self.channels = carrier, channels
        self.before = {(side, channel): counts for side, channel, counts in self.carried()}

    def facts(self, event: Closed | None, now: float) -> dict[str, Any]:
        """What passed, as the log has it. `event` is the end of the client's place."""
        to_client, to_server = (0, 0), (0, 0)
        if event is not None:
            to_client, to_server = (event.packets_in, event.bytes_in), (event.packets_out, event.bytes_out)
        for side, channel, (packets, size) in self.carried():
            packets_before, bytes_before = self.before.get((side, channel), (0, 0))
            packets, size = packets - packets_before, size - bytes_before
            if side is Side.SERVER:
                to_client = to_client[0] + packets, to_client[1] + size
            else:
                to_server = to_server[0] + packets, to_server[1] + size
        facts: dict[str, Any] = {
            "url": told(self.url),
            "transport": self.kind,
            "client_media": self.client[0] if self.client is not None else None,
            "server_media": self.server,
            **dict(zip(PASSED, (*to_client, *to_server), strict=True)),
            "seconds": round(now - self.began_at, 3),
        }
        for side, heard in self.heard.items():
            facts |= {f"lost_to_{side.value}": heard.lost, f"jitter_seconds_to_{side.value}": heard.jitter_seconds}
            facts[f"codec_to_{side.value}"] = heard.codec
        return facts


@dataclass(slots=True, eq=False)
class Session:
    """What one session id stands for."""

    key: Key
    url: bytes
    began_at: float
    options: RtspOptions
    timeout: float = DEFAULT_TIMEOUT
    streams: dict[bytes, Stream] = field(default_factory=dict)
    """URL -> the stream that is agreed."""
    open: dict[Stream, None] = field(default_factory=dict)
    """All streams whose end is not told yet."""
    speakers: set[object] = field(default_factory=set)
    """The engines whose connections speak of it."""
    heard_at: float = 0.0
    """When the last message of it came."""
    lost_at: float | None = None
    """Since when no connection speaks of it."""
    has_played: bool = False
    has_recorded: bool = False
    cause: str = ""
    """Why it is over; empty while it is not."""
    is_told: bool = False
    """The last line about it has been written."""
    totals: Counter[str] = field(default_factory=Counter)
    """What all its streams that have ended carried."""

    @property
    def name(self) -> str:
        """What the log calls it. The id itself would let somebody else end it."""
        return name_of(self.key[2])

    @property
    def idle_seconds(self) -> float:
        """How long it lives without a message or a packet (RT29)."""
        return max(2 * self.timeout, self.options.media_idle)

    def takes(self, url: bytes) -> bool:
        """Whether media of this URL may be agreed: once more, or as a further stream."""
        return url in self.streams or len(self.streams) < MAX_STREAMS

    def speak(self, engine: object, now: float) -> None:
        """A message of it has come by this engine's connection."""
        self.speakers.add(engine)
        self.lost_at, self.heard_at = None, now
        for part in {id(stream.part): stream.part for stream in self.open}.values():
            if part is not None:
                part.keep(self.idle_seconds)

    def lose(self, engine: object, now: float) -> None:
        """The connection of this engine is gone."""
        self.speakers.discard(engine)
        if not self.speakers and self.lost_at is None:
            self.lost_at = now

    def deadline(self) -> float | None:
        """When it is over, if nothing more is heard."""
        if self.cause:
            return None
        if self.lost_at is not None:
            return self.lost_at + min(self.timeout, self.options.session_grace)
        if any(stream.is_used for stream in self.open):
            return None
        carried = (stream.carrier.heard_at for stream in self.open if stream.carrier is not None)
        return max([self.heard_at, *carried]) + self.idle_seconds

    @property
    def overdue(self) -> str:
        """Why it is over when its deadline has come."""
        return "lost" if self.lost_at is not None else "timeout"

    # -- ends --------------------------------------------------------------------------------------------------------

    def end(self, cause: str, now: float) -> list[Note]:
        """It is over. What is open of it is told of when it has closed."""
        self.cause = self.cause or cause
        notes = [note for stream in tuple(self.open) for note in self.close(stream, now)]
        return notes or self._told(now)

    def close(self, stream: Stream, now: float) -> list[Note]:
        """One stream is over."""
        if self.streams.get(stream.url) is stream:
            del self.streams[stream.url]
        if stream.offered is not None and stream.part is not None:
            for grant in (stream.answered, stream.offered):
                if grant is not None:
                    stream.part.close(grant, self.cause or "closed_by_session")
            return []  # its end tells the rest
        return self.drop(stream, None, now)

    def drop(self, stream: Stream, event: Closed | None, now: float) -> list[Note]:
        """A stream has ended. `event` is the end of its place."""
        if stream not in self.open:
            return []
        self.open.pop(stream, None)
        if self.streams.get(stream.url) is stream:
            del self.streams[stream.url]
        facts = stream.facts(event, now)
        for name in PASSED:
            self.totals[name] += facts[name]
        if not self.open and not self.cause and event is not None and event.reason != "closed_by_session":
            self.cause = "timeout" if event.reason in ("idle", "never_used") else event.reason
        return [Note("rtsp.stream", {"rtsp_session": self.name, **facts}), *self._told(now)]

    def _told(self, now: float) -> list[Note]:
        """The last line, once everything is known."""
        if self.open or not self.cause or self.is_told:
            return []
        self.is_told = True
        counts = {name: self.totals[name] for name in PASSED}
        facts = {"rtsp_session": self.name, "seconds": round(now - self.began_at, 3), **counts, "cause": self.cause}
        return [Note("rtsp.ended", facts)]


class Table:
    """What all RTSP engines of a daemon share."""

    __slots__ = ("held", "media", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[Key, Session] = {}
        self.media = 0
        """How many places stand."""
        self.held = Held()

    def standing(self) -> Mapping[str, int]:
        """The numbers of entries, by kind."""
        return {"sessions": len(self.sessions), "media": self.media, "held": self.held.total}

    def forget(self, session: Session) -> None:
        """It is over. A session with the same id may begin."""
        if self.sessions.get(session.key) is session:
            del self.sessions[session.key]
