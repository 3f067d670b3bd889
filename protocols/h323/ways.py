"""Connections that the messages of a call announce: for H.245, for T.120, and to where a caller is sent on.

Each is a pinhole for the other party alone, to the address that was named; an address that is named again is the same
one (HF46). Who waits for H.245 is dialled by the other party, whichever of them that is, and both may wait (HF45).
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader, Refusal
from protocols.h323.session import Session

H245, T120, FORWARDED = "h245", "t120", "h323"
"""What such a connection carries."""
MAX_WAYS = 8
"""How many connections the messages of one call may announce: endpoints announce one or two."""
OPEN_SECONDS = 60.0
"""How long nobody may come (HF45)."""
DIAL_SECONDS = 3.0
"""How long it may take to reach whoever waits, once somebody has come for them: a lost SYN is sent again within this
time. When it takes longer, and the address is named again, a further way harms nobody."""
T120_CONNECTIONS = 8
"""How many connections one T.120 session may have."""


@dataclass(frozen=True, slots=True)
class Control:
    """The role of a session that carries the H.245 of a call."""

    call: int
    """Its number."""
    dialler: str
    """The side of the call that has dialled: `client` or `server`."""


@dataclass(slots=True)
class Announced:
    """An address that the other party was told."""

    listen: Endpoint
    used_at: float | None = None
    """When somebody came who was the last one that might."""


class Ways:
    """The announced connections of one call."""

    __slots__ = ("_announced", "_is_connected", "_part", "_session", "_waiting")

    def __init__(self, session: Session, part: Pinholes) -> None:
        """part: the call's own part of its session's pinholes."""
        self._session = session
        self._part = part
        self._announced: dict[tuple[str, Side, Endpoint], Announced] = {}
        """What it carries, who waits, where -> where the other party finds it."""
        self._waiting: dict[int, tuple[Grant, tuple[str, Side, Endpoint]]] = {}
        self._is_connected = False
        """The call has its H.245 connection."""

    def h245(self, side: Side, at: Endpoint, trigger: str, call: int, is_carried: bool, now: float) -> Endpoint | None:
        """This side waits for H.245 there. Returns where the other one is to dial; None: nothing could be opened.
        is_carried: the call has a connection of H.245."""
        reader = Reader("h323", Control(call, side.other.value))
        return self._open(H245, side, at, trigger, reader, now, is_carried=is_carried)

    def t120(self, side: Side, at: Endpoint, trigger: str, now: float) -> Endpoint | None:
        """The same for T.120, which is not read."""
        return self._open(T120, side, at, trigger, None, now, T120_CONNECTIONS)

    def forwarded(self, side: Side, at: Endpoint, trigger: str, now: float) -> Endpoint | None:
        """The other party is sent there by this side, to call anew."""
        return self._open(FORWARDED, side, at, trigger, Reader("h323"), now)

    def _open(
        self,
        purpose: str,
        side: Side,
        at: Endpoint,
        trigger: str,
        reader: Reader | None,
        now: float,
        uses: int = 1,
        is_carried: bool = False,
    ) -> Endpoint | None:
        key = purpose, side, at
        before = self._announced.get(key)
        if before is not None:
            # Who came by a way need not have got there, and then nothing is left where it was.
            if before.used_at is None or is_carried or now < before.used_at + DIAL_SECONDS:
                return before.listen
            del self._announced[key]
        if len(self._announced) >= MAX_WAYS or (purpose == H245 and self._is_connected):
            return None
        peers = self._session.peers
        is_mapped = peers.is_mapped(side) and at.host == peers.own(side).host
        opened = self._part.open(
            Expect(
                Transport.TCP,
                purpose,
                trigger,
                listen=Endpoint(peers.as_seen(side).host, 0) if is_mapped else at,
                allow=only(peers.own(side.other).host),
                target=at,
                source=Endpoint(peers.as_seen(side.other).host, 0),
                idle_seconds=self._session.options.call_idle,
                open_seconds=OPEN_SECONDS,
                uses=uses,
                reader=reader,
                prefer=before.listen.port if before is not None and is_mapped else 0,
            )
        )
        if isinstance(opened, Refusal):
            return None
        self._announced[key] = Announced(opened.listen)
        self._waiting[opened.id] = opened, key
        return opened.listen

    def used(self, grant: Grant, now: float) -> None:
        """Somebody has come. What is announced once stays what it is (HF46), while the connection is made and lasts."""
        if grant.expect.uses == 1 and (found := self._waiting.pop(grant.id, None)) is not None:
            self._announced[found[1]].used_at = now

    def gone(self, grant: Grant) -> None:
        """A way is closed. If nobody has come, the next message that names it opens it again."""
        found = self._waiting.pop(grant.id, None)
        if found is not None:
            self._announced.pop(found[1], None)

    def connected(self) -> None:
        """A message of H.245 has passed on a connection of its own: no further one is expected (HF45)."""
        if not self._is_connected:
            self._is_connected = True
            self._close(H245)

    def disconnected(self) -> None:
        """The H.245 connection is gone. There may be another one, also by a way that still stands."""
        self._is_connected = False
        standing = [key for _, key in self._waiting.values()]
        for key in [key for key in self._announced if key[0] == H245 and key not in standing]:
            del self._announced[key]

    def close_all(self) -> None:
        """The call is over. Who is sent on lets the call go before dialling anew, so that way stays."""
        self._close(H245, T120)

    def close_forwarded(self) -> None:
        """Who was sent on has had its time to dial."""
        self._close(FORWARDED)

    def _close(self, *purposes: str) -> None:
        for grant, key in tuple(self._waiting.values()):
            if key[0] in purposes:
                del self._waiting[grant.id]
                self._part.close(grant)

    def __len__(self) -> int:
        """How many stand open."""
        return len(self._waiting)
