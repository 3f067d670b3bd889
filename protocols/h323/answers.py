"""Where answers go that a request wants at another port of its host than the one it was sent from (RA4).

    GRQ, RRQ, LRQ    the address that they name has a place outside, for datagrams of the other side alone
    what comes       is a session of its own, but it is read as if it had come in the session that has asked

The place stands for as long as an answer may take, and with a registration for as long as that. An endpoint that asks
in another session, as after a restart or for its registration after GRQ, hears the answers there. Behind NAT the place
of a registration stays beside the new one: an endpoint that is registered may ask an alternate on the same host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport, only
from protocols.contract.effects import Close, Effect, Send
from protocols.contract.engine import Engine
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader, Refusal
from protocols.h323.calls import Asking, CallBook
from protocols.toolbox.clock import Clock
from protocols.toolbox.copies import message_copied

ANSWER_SECONDS = 30.0
"""How long a place stands that no registration keeps."""
MAX_PLACES = 4
"""For so many addresses: endpoints name one, or one of each version."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The role of a session in which answers come. Its client is who answers."""

    session: int
    """The number of the session that has asked."""
    asker: str
    """The side of that session that hears the answers: `client` or `server`."""


class Places:
    """The places for answers to one session."""

    __slots__ = ("_book", "_clock", "_has_registered", "_peers", "_pinholes", "_standing", "number")

    def __init__(
        self, peers: Peers, pinholes: Pinholes, book: CallBook, number: int, has_registered: Callable[[], bool]
    ) -> None:
        """number: of the session. has_registered: tells whether a registration of the session stands."""
        self._peers = peers
        self._pinholes = pinholes
        self._book = book
        self._has_registered = has_registered
        self.number = number
        self._standing: dict[Endpoint, tuple[Side, Grant]] = {}
        """Where a host hears answers -> its side, and the pinhole."""
        self._clock = Clock[Endpoint]()

    def __len__(self) -> int:
        return len(self._standing)

    def at(self, side: Side, own: Endpoint, trigger: str, now: float) -> Endpoint | None:
        """Where the other side finds this address of this side's own host. None: it can have no place."""
        found = self._standing.get(own)
        if found is not None:
            return found[1].listen
        if len(self._standing) >= MAX_PLACES:
            return None
        peers, key = self._peers, self._key(side, own)
        is_mapped = peers.is_mapped(side)
        for before, _ in tuple(self._book.hearing.get(key, {}).values()):
            before.give_way(own, is_mapped)
        opened = self._pinholes.open(
            Expect(
                Transport.UDP,
                "ras",
                trigger,
                listen=Endpoint(peers.as_seen(side).host, 0) if is_mapped else own,
                allow=only(peers.own(side.other).host),
                target=own,
                source=Endpoint(peers.as_seen(side.other).host, 0) if peers.is_mapped(side.other) else None,
                idle_seconds=ANSWER_SECONDS,
                lasts_seconds=ANSWER_SECONDS,
                uses=None,
                reader=Reader("ras", Answers(self.number, side.value)),
                prefer=own.port if is_mapped else 0,
            )
        )
        if isinstance(opened, Refusal):
            return None
        self._standing[own] = side, opened
        self._book.hearing.setdefault(key, {})[opened.listen] = self, side
        self._clock.set(own, now + ANSWER_SECONDS)
        return opened.listen

    def _key(self, side: Side, own: Endpoint) -> tuple[Endpoint, Host, Host]:
        return own, self._peers.as_seen(side).host, self._peers.own(side.other).host

    def known_as(self, at: Endpoint) -> Endpoint | None:
        """The address by which the other side knows it, if there is a place for it."""
        found = self._standing.get(at)
        return None if found is None else found[1].listen

    def last(self, side: Side, seconds: float, now: float) -> None:
        """This side hears answers for so long from now on."""
        for own, (of, grant) in self._standing.items():
            if of is side:
                self._clock.set(own, now + seconds)
                self._pinholes.renew(grant, grant.expect.allow, seconds)

    def gone(self, grant: Grant) -> None:
        """A place is closed."""
        for own, (_, held) in tuple(self._standing.items()):
            if held.id == grant.id:
                self._forget(own)

    def _forget(self, own: Endpoint) -> Grant:
        side, grant = self._standing.pop(own)
        self._clock.forget(own)
        key = self._key(side, own)
        heard = self._book.hearing.get(key, {})
        # Where nothing really stands (`mode: observe`), two places may have one address. The newer one has the entry.
        if heard.get(grant.listen) == (self, side):
            del heard[grant.listen]
            if not heard:
                del self._book.hearing[key]
        return grant

    def give_way(self, own: Endpoint, is_mapped: bool) -> None:
        """The endpoint asks in another session for what it hears at this address. Without NAT both places would have
        this one address, and what comes would go to the session that was first. With NAT there is room for both, and a
        place goes on if the session has registered: its gatekeeper may be another one on the same host."""
        if not (is_mapped and self._has_registered()):
            self._pinholes.close(self._forget(own))

    def deadline(self) -> float | None:
        """When the next time is over."""
        return self._clock.next()

    def tick(self, now: float) -> None:
        """The time of places may be over."""
        for own in tuple(self._clock.due(now)):
            self._pinholes.close(self._forget(own))

    def close_all(self) -> None:
        """The session ends, or all that the endpoint has registered."""
        while self._standing:
            self._pinholes.close(self._forget(next(iter(self._standing))))


class AnswersEngine(Engine):
    """One session in which answers come. What they mean, the session knows that has asked."""

    __slots__ = ("_at", "_book", "_is_copied", "_key", "_role")

    def __init__(self, peers: Peers, role: Answers, book: CallBook) -> None:
        self._key = peers.server, peers.server_as_seen.host, peers.client.host
        """Of the places in the book."""
        self._at = peers.server_as_seen
        """Where the answers come."""
        self._role = role
        self._book = book
        self._is_copied = False

    @property
    def _heard_by(self) -> tuple[int, Side]:
        """The number of the session that is asking, and the side of it that hears. It may be a later one than that of
        the role, when its place has given way: datagrams of the same two addresses go on coming here."""
        places = self._book.hearing.get(self._key, {})
        place = places.get(self._at) or next(reversed(places.values()), None)
        return (self._role.session, Side(self._role.asker)) if place is None else (place[0].number, place[1])

    @property
    def _asking(self) -> Asking | None:
        return self._book.asking.get(self._heard_by[0])

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        asking, asker = self._asking, self._heard_by[1]
        if asking is None:
            return (Close("no_session"),)
        sent, effects = asking.passed(asker if side is Side.SERVER else asker.other, data, now)
        if sent is not None:
            effects.append(Send(side.other, sent))
        return message_copied(side, data, effects) if self._is_copied else effects

    def deadline(self) -> float | None:
        """That of the session which has asked: its own driver does not hear of what happens here."""
        asking = self._asking
        return None if asking is None else asking.deadline()

    def tick(self, now: float) -> Sequence[Effect]:
        asking = self._asking
        return () if asking is None else asking.tick(now)

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted
