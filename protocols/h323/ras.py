"""RAS over UDP: endpoints find their gatekeeper, register with it, and ask it for calls.

H.225.0 s.7.6 to 7.19; ids in comments (RA12) are those of `protocols/FACTS.md`.

    endpoint -> gatekeeper    GRQ         rasAddress is mapped: the answer comes to it
                              RRQ         each signalling address gets a place outside      registrations.py
    gatekeeper -> endpoint    RCF         calls are admitted there, for as long as it says
                              GCF, ACF    another port to register at, or to call: a way for this endpoint alone
    either                    URQ, UCF    the registration is over

House rules:
- An answer means something only if it has the number of a request that waits for it, and once (RA2).
- Addresses are mapped by value, in place; what is the gatekeeper's own, or foreign, stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.contract.addresses import LEAST_PORT, Endpoint, Malformed, Peers, Side
from protocols.contract.effects import Effect, Note, Send, violation
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, Grant, PinholeEvent, Pinholes
from protocols.h323.answers import Places
from protocols.h323.calls import CallBook
from protocols.h323.names import Draft, Names
from protocols.h323.options import RasOptions
from protocols.h323.ras_messages import ANSWERED, ANSWERED_AT, ANSWERS, NAMING, Message, is_answer, read
from protocols.h323.registrations import DEFAULT_SECONDS, GRACE_SECONDS, MAX_SECONDS, Registration, Registrations
from protocols.h323.targets import Targets
from protocols.h323.wanted import TRAVERSAL, walkers
from protocols.toolbox.clock import Clock
from protocols.toolbox.copies import message_copied
from protocols.toolbox.memory import as_client

MAX_PENDING = 64
"""How many requests of one session may wait for their answers."""
PENDING_SECONDS = 30.0
"""How long a request waits: it is sent three times, every five seconds at most (RA2)."""
_SIGNALLING = TRAVERSAL - {19}
"""Of those, the ones by which signalling crosses: H.460.19 is of media alone (HF64)."""


class Dropped(Exception):
    """A datagram that does not go on."""


@dataclass(slots=True, eq=False)
class Request:
    """A request that waits for its answer."""

    side: Side
    kind: str
    claims: list[Registration] = field(default_factory=list)
    seconds: int | None = None
    alias: str = ""
    removes: list[Registration] = field(default_factory=list)
    is_answered: bool = False


class RasEngine(Engine):
    """One session of RAS."""

    __slots__ = (
        "_book",
        "_clock",
        "_follows",
        "_has_ended",
        "_has_told",
        "_is_copied",
        "_is_left_alone",
        "_names",
        "_notes",
        "_number",
        "_options",
        "_peers",
        "_places",
        "_registrations",
        "_requests",
        "_targets",
        "_walker",
    )

    def __init__(self, peers: Peers, options: RasOptions, pinholes: Pinholes, now: float, book: CallBook) -> None:
        self._peers = peers
        self._options = options
        self._book = book
        self._names = Names(peers, book.registered, book.registrations)
        self._walker = walkers(self._names.is_mapped).ras
        self._follows = options.fixup == "auto" or not self._names.is_mapped
        self._number = next(book.numbers)
        self._places = Places(peers, pinholes, book, self._number, self._has_registered)
        emptied = self._places.close_all  # however that comes about: they stand for as long as a registration (RA4)
        self._registrations = Registrations(peers, options, pinholes, book, self._note, emptied)
        self._requests: dict[tuple[Side, int], Request] = {}
        self._clock = Clock[tuple[Side, int]]()
        self._targets = Targets(peers, options, pinholes, self._names, book, self._violates)
        self._has_told: set[str] = set()
        self._is_copied = self._is_left_alone = self._has_ended = False
        self._notes: list[Effect] = []

    # -- datagrams -----------------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        sent, effects = self.passed(side, data, now)
        if sent is not None:
            effects.append(Send(side.other, sent))
        return message_copied(side, data, effects) if self._is_copied else effects

    def passed(self, side: Side, data: bytes, now: float) -> tuple[bytes | None, list[Effect]]:
        """What a datagram becomes on the other side, None if it does not go on; and what is noted of it."""
        sent: bytes | None = data
        if self._names.is_between_families:
            self._tell_once("h323.family", "the two hosts have addresses of different versions", "dropped")
            sent = None  # HF17: no address could be put in the place of another one
        elif self._follows:
            try:
                sent = self._message(side, data, now)
            except Malformed as error:
                is_denied = self._options.malformed == "deny"
                self._violates("ras.malformed", str(error), "dropped" if is_denied else "passed")
                sent = None if is_denied else data
            except Dropped:
                sent = None
        return sent, self._take()

    def _message(self, side: Side, data: bytes, now: float) -> bytes:
        """What a datagram becomes on the other side. Raises Dropped, Malformed."""
        if not is_answer(data):  # those are as many as there were requests
            host = as_client(self._peers.own(side).host)
            if self._book.requests.count(host, now) > self._options.rate:
                self._violates("ras.rate", f"more than {self._options.rate} requests a second", "dropped")
                raise Dropped
        draft = Draft(data)
        message = read(data, self._walker.walk(data).found, draft)
        draft.trigger = message.kind
        self._tell_features(side, message)
        if self._options.traversal == "pass" and self._crosses_by_itself(message):
            return data
        news: dict[Endpoint, Endpoint] = {}
        if message.kind in ANSWERED:
            news = self._asked(side, message, draft, now)
        elif message.kind in ANSWERS:
            news = self._answered(side, message, draft, now)
        for label, start, at in message.addresses:
            draft.put(start, at, news.get(at) or self._mapped(side, label, at, draft, now), label)
        for event, facts in draft.notes():
            self._note(event, facts)
        return draft.written

    def _mapped(self, side: Side, label: str, at: Endpoint, draft: Draft, now: float) -> Endpoint:
        """What the other side is to read for an address that nothing is opened for."""
        if label == "alternate" and at.host not in (self._peers.own(side).host, self._peers.as_seen(side).host):
            draft.keep(label, at, "alternate")
        if label == NAMING.get(draft.trigger) and at != self._peers.own(side):
            self._hears_at(side, label, at, draft, now)
        place = self._places.known_as(at) if label in ANSWERED_AT else None
        return place or self._names.known_as(side, at)

    def _hears_at(self, side: Side, label: str, at: Endpoint, draft: Draft, now: float) -> None:
        """This side wants answers there, and not where it sends from (RA4)."""
        own, seen = self._peers.own(side), self._peers.as_seen(side)
        if at.host.is_loopback or (at.host == seen.host and at.host != own.host):  # the one is HF51's
            return
        if at.host != own.host or at.port < LEAST_PORT:
            self._violates("ras.elsewhere", f"{draft.trigger}: {label} {at}", "not opened")
        elif self._places.at(side, at, draft.trigger, now) is None:
            draft.keep(label, at, "not_opened")
        else:
            self._book.asking[self._number] = self

    def _has_registered(self) -> bool:
        return bool(self._registrations.standing)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _asked(self, side: Side, message: Message, draft: Draft, now: float) -> dict[Endpoint, Endpoint]:
        """A request whose answer means something. Returns what its addresses become. Raises Dropped."""
        key = side, message.number
        request = self._requests.get(key)
        if request is None or request.kind != message.kind or request.is_answered:
            request = Request(side, message.kind)
            if len(self._requests) >= MAX_PENDING and key not in self._requests:
                self._over(next(iter(self._requests)))
                if self._has_ended:  # it only lingered for that: nobody would close what this request opens
                    raise Dropped
        self._requests[key] = request
        self._clock.set(key, now + PENDING_SECONDS)
        match message.kind:
            case "registrationRequest":
                return self._registers(side, message, request, draft, now)
            case "unregistrationRequest":
                self._unregisters(side, message, request)
        return {}

    def _registers(
        self, side: Side, message: Message, request: Request, draft: Draft, now: float
    ) -> dict[Endpoint, Endpoint]:
        """RRQ: each address at which the endpoint can be called has a place outside before the gatekeeper hears of it
        (RA12). Raises Dropped."""
        own = self._peers.own(side)
        seconds = message.values.get("timeToLive")
        request.seconds = seconds if isinstance(seconds, int) else None
        request.alias = message.text("alias")
        named = [at for label, _, at in message.addresses if label == "callSignalAddress"]
        mine = [at for at in named if at.host == own.host and at.port >= LEAST_PORT]
        news: dict[Endpoint, Endpoint] = {}
        for at in mine:
            known = at in self._registrations.standing
            if not known and len(self._registrations.standing) >= self._options.max_registrations:
                detail = f"{len(self._registrations.standing)} of this session"
                self._violates("ras.too_many_registrations", detail, "dropped")
                raise Dropped
            claimed = self._registrations.claim(side, at, now)
            if claimed is None:
                if self._peers.is_mapped(side):
                    raise Dropped  # it could not be called; the endpoint asks again
                draft.keep("callSignalAddress", at, "not_opened")
                continue
            if claimed not in request.claims:
                request.claims.append(claimed)
            news[at] = claimed.seen
        for at in named:
            if at.host.is_loopback and mine:
                news[at] = news.get(mine[0], at)  # HF51
            elif at not in mine:
                self._violates("ras.elsewhere", f"RRQ: callSignalAddress {at}", "not opened")
                news[at] = at
        if message.values.get("keepAlive") and not named:
            request.claims = self._registrations.of(own.host)
        return news if self._peers.is_mapped(side) else {}

    def _unregisters(self, side: Side, message: Message, request: Request) -> None:
        """URQ, of either side: what it is about is over when the other one agrees, or does not answer (RA13)."""
        named = {at for label, _, at in message.addresses if label == "callSignalAddress"}
        about = [found for at in named if (found := self._registrations.at(at)) is not None]
        request.removes = about if named else list(self._registrations.standing.values())

    # -- answers -------------------------------------------------------------------------------------------------------

    def _answered(self, side: Side, message: Message, draft: Draft, now: float) -> dict[Endpoint, Endpoint]:
        """An answer. Returns what its addresses become."""
        request = self._requests.get((side.other, message.number))
        if request is None or message.kind not in ANSWERED[request.kind]:
            self._violates("ras.unsolicited", f"{message.kind} {message.number}", "passed")
            return {}
        is_first, request.is_answered = not request.is_answered, True
        match message.kind:
            case "gatekeeperConfirm":
                self._note_alternates(message)
                return self._targets.registers_at(side, message.at("rasAddress"), draft)
            case "registrationConfirm" if is_first:
                self._note_alternates(message)
                self._confirmed(side, message, request, now)
            case "registrationReject":
                self._give_up(request)
            case "unregistrationConfirm":
                self._unregistered(request)
            case "unregistrationReject":
                request.removes = []
            case "admissionConfirm":
                return self._targets.calls(side, message.at("destCallSignalAddress"), draft, now)
            case "locationConfirm":
                return self._targets.calls(side, message.at("callSignalAddress"), draft, now)
        return {}

    def _confirmed(self, side: Side, message: Message, request: Request, now: float) -> None:
        """RCF: what was asked for is agreed."""
        granted = message.values.get("timeToLive", request.seconds)
        seconds = granted if isinstance(granted, int) else DEFAULT_SECONDS
        self._places.last(side.other, min(seconds, MAX_SECONDS) + GRACE_SECONDS, now)
        for found in request.claims:
            alias = request.alias or message.text("alias")
            self._registrations.agree(side.other, found, alias, message.text("endpointIdentifier"), seconds, now)

    def _give_up(self, request: Request) -> None:
        """Nobody has agreed to what was asked for. What was agreed before goes on for its time."""
        for found in request.claims:
            if not found.is_agreed:
                self._registrations.remove(found, None)

    def _unregistered(self, request: Request) -> None:
        """What was to be over is over."""
        for found in request.removes:
            self._registrations.remove(found, "registration.removed")
        if not self._registrations.standing:  # nor did any, perhaps: who cannot be called may register, too
            self._places.close_all()

    def _note_alternates(self, message: Message) -> None:
        for label, _, at in message.addresses:
            if label == "alternate" and at.host.version == self._peers.client.host.version:
                self._registrations.named(at.host)

    # -- what lasts ----------------------------------------------------------------------------------------------------

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if isinstance(grant, Grant) and isinstance(event, Closed):
            self._registrations.gone(grant)
            self._targets.gone(grant)
            self._places.gone(grant)
        return self._take()

    def is_needed(self) -> bool:
        return bool(self._registrations.standing or len(self._targets) or len(self._places))

    def deadline(self) -> float | None:
        parts = self._clock.next, self._registrations.deadline, self._targets.deadline, self._places.deadline
        times = [part() for part in parts]
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: float) -> Sequence[Effect]:
        for key in tuple(self._clock.due(now)):
            self._over(key)
        self._registrations.tick(now)
        self._targets.tick(now)
        self._places.tick(now)
        return self._take()

    def _over(self, key: tuple[Side, int]) -> None:
        """A request has waited for long enough."""
        self._clock.forget(key)
        request = self._requests.pop(key, None)
        if request is None:  # the end of one before it has ended the session, which only lingered, and all that it had
            return
        if not request.is_answered:
            self._give_up(request)
            if request.kind == "unregistrationRequest":
                self._unregistered(request)

    def stop(self, now: float) -> Sequence[Effect]:
        self._has_ended = True
        self._requests.clear()
        self._clock = Clock()
        self._registrations.stop()
        self._targets.close_all(now)
        self._places.close_all()
        self._book.asking.pop(self._number, None)
        return self._take()

    def copy(self, is_wanted: bool) -> None:
        self._is_copied = is_wanted

    # -- the log -------------------------------------------------------------------------------------------------------

    def _crosses_by_itself(self, message: Message) -> bool:
        """Whether the endpoint crosses a NAT by itself. What its RRQ offers holds for all that is said later, as by
        lightweight RRQs, which offer nothing: with half of the addresses mapped neither way would work (HF62)."""
        if message.kind == "registrationRequest" and not message.values.get("keepAlive"):
            self._is_left_alone = bool(_SIGNALLING & message.features)
        return self._is_left_alone

    def _tell_features(self, side: Side, message: Message) -> None:
        """Tell the log once of what this gateway cannot help with."""
        if "signed" in message.values and self._names.is_mapped:
            host = self._peers.own(side).host
            self._tell_once("h323.signed_message", f"{host} signs its messages with their addresses", "passed")
        if (features := sorted(TRAVERSAL & message.features)) and "feature" not in self._has_told:
            self._has_told.add("feature")
            self._note("h323.traversal", {"features": features})

    def _tell_once(self, rule: str, detail: str, action: str) -> None:
        if rule not in self._has_told:
            self._has_told.add(rule)
            self._violates(rule, detail, action)

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        self._notes.append(Note(event, facts))

    def _violates(self, rule: str, detail: str, action: str) -> None:
        self._notes.append(violation(rule, detail, action))

    def _take(self) -> list[Effect]:
        notes, self._notes = self._notes, []
        return notes
