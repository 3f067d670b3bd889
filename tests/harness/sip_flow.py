"""A SIP engine between a phone and a proxy, and messages for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport
from protocols.contract.effects import Effect, Note, Send
from protocols.contract.engine import Engine
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, Media, MediaGrant, Party, Refusal, Used
from protocols.observe import Engines, Observer
from protocols.sip import helper as sip
from protocols.sip.engine import SipEngine
from protocols.sip.options import SipOptions
from tests.harness.events import noted
from tests.harness.media import said

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def at(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(ip_address(host), int(port))


PHONE, OURS, PROXY = at("10.1.0.2:5060"), at("203.0.113.1:5060"), at("198.51.100.2:5060")


G = TypeVar("G", Grant, MediaGrant)


class Places:
    """Pinholes that are written down; ports are counted up from 40000."""

    def __init__(self) -> None:
        self.standing: dict[int, AnyGrant] = {}
        self.log: list[str] = []
        self.refuses = False
        self.unroutable: set[Host] = set()
        """Third hosts that the shell would refuse."""
        self.kept: list[float] = []
        self.late: list[tuple[AnyGrant, Closed]] = []
        self.engine: Engine | None = None
        self._last = 0

    def _add(self, make: Callable[[int], G]) -> G | Refusal:
        if self.refuses:
            return Refusal("no_free_port")
        self._last += 1
        grant = self.standing[self._last] = make(self._last)
        return grant

    def open(self, expect: Expect) -> Grant | Refusal:
        listen = expect.listen if expect.listen.port else Endpoint(expect.listen.host, 50000 + self._last)
        hosts = " ".join(str(network.network_address) for network in expect.allow)
        self.log.append(f"open {listen} for {expect.target} from {hosts}")
        return self._add(lambda number: Grant(number, expect, listen))

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        hosts = " ".join(str(network.network_address) for network in allow)
        self.log.append(f"renew {grant.listen} {seconds:g} for {hosts}")

    def apart(self, of: Mapping[str, Any] | None = None) -> Places:
        return self

    def _place(self, what: str, media: Media) -> MediaGrant | Refusal:
        party = media.party
        self.log.append(f"{what} {party.data}")
        if party.mapped is None:
            return self._add(lambda number: MediaGrant(number, media, party.data, party.control))
        port = 40000 + 2 * self._last
        rtp, rtcp = Endpoint(party.mapped, port), Endpoint(party.mapped, port + 1) if party.control else None
        return self._add(lambda number: MediaGrant(number, media, rtp, rtcp))

    def may_wait(self, party: Party) -> bool:
        hosts = {at.host for at in (party.data, party.control) if at is not None} - {party.host}
        return party.is_named or not (hosts and (party.is_inside or hosts & self.unroutable))

    def reached_as(self, host: Host) -> tuple[Host, ...]:
        """Nothing is published."""
        return ()

    reached_at = reached_as

    def keep(self, seconds: float) -> None:
        self.kept.append(seconds)

    def offer(self, media: Media) -> MediaGrant | Refusal:
        return self._place("offer", media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        return self._place("answer", media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant:
        self.log.append(f"change {grant.media.party.data} to {media.party.data}")
        changed = MediaGrant(grant.id, media, grant.data, grant.control)
        self.standing[grant.id] = changed
        return changed

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        if self.standing.pop(grant.id, None) is not None:
            self.log.append(f"close {grant.media.party.data if isinstance(grant, MediaGrant) else grant.listen}")
            assert self.engine is not None
            self.late.append((grant, Closed(reason, 100, 50, 1.0, 10, 5)))

    def confirm(self, grant: Grant) -> None:
        self.log.append(f"confirm {grant.listen}")


class Flow:
    """An engine between PHONE, known as OURS with NAT, and PROXY."""

    def __init__(
        self,
        nat: bool = True,
        transport: Transport = Transport.UDP,
        peers: Peers | None = None,
        beside: Flow | None = None,
        **options: Any,
    ) -> None:
        """beside: another one of the same daemon."""
        self.places: Places = beside.places if beside else Places()
        self.engines: Engines = beside.engines if beside else Engines(sip.HELPER)
        self.now = 0.0
        seen = OURS if nat else PHONE
        peers = peers or Peers(PHONE, seen, PROXY, PROXY, transport)
        self.engine = self.places.engine = self.engines(peers, SipOptions(**options), self.places, 0.0)
        inner = self.engine.engine if isinstance(self.engine, Observer) else self.engine
        assert isinstance(inner, SipEngine)
        self.inner, self.table = inner, inner._table
        self.notes: list[Note] = []

    def hear(self, side: Side, data: bytes) -> list[Effect]:
        return self._settle(self.engine.receive(side, data, self.now))

    def sends(self, side: Side, data: bytes) -> list[Send]:
        """What is sent, where nothing else may come of it."""
        effects = self.hear(side, data)
        sent = [effect for effect in effects if isinstance(effect, Send)]
        assert sent == effects
        return sent

    def tick(self, now: float) -> list[Effect]:
        self.now = now
        return self._settle(self.engine.tick(now))

    def use_media(self) -> None:
        """Packets have come to each place for media."""
        for grant in tuple(self.places.standing.values()):
            if isinstance(grant, MediaGrant):
                self._settle(self.engine.pinhole(grant, Used(said(grant.media.party.data)), self.now))

    def _settle(self, effects: Sequence[Effect]) -> list[Effect]:
        """As the shell does: what the engine closed is told to it when it is done."""
        done = list(effects)
        while self.places.late:
            grant, event = self.places.late.pop(0)
            done += self.engine.pinhole(grant, event, self.now)
        noted(done)
        self.notes += (effect for effect in done if isinstance(effect, Note))
        return [effect for effect in done if not isinstance(effect, Note)]

    def passes(self, side: Side, data: bytes) -> bytes:
        """What the other side gets."""
        (send,) = self.sends(side, data)
        assert send.to is side.other
        return send.data

    def events(self) -> list[str]:
        return [note.event for note in self.notes]


def message(start: str, *fields: str, body: str = "") -> bytes:
    lines = [start, *fields, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def sdp(host: str, port: int, more: str = "") -> str:
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n{more}"


DIALOG = ("From: <sip:alice@example.org>;tag=a", "Call-ID: one@10.1.0.2")
SDP = "Content-Type: application/sdp"


def invite(number: int = 1, body: str = sdp("10.1.0.2", 7000), to: str = "<sip:bob@example.org>") -> bytes:
    return message(
        "INVITE sip:bob@198.51.100.2 SIP/2.0",
        f"Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bK{number};rport",
        "Max-Forwards: 70",
        *DIALOG,
        f"To: {to}",
        f"CSeq: {number} INVITE",
        "Contact: <sip:alice@10.1.0.2>",
        SDP,
        body=body,
    )


def response(
    status: int, number: int = 1, method: str = "INVITE", body: str = "", tag: str = "b", host: str = "203.0.113.1"
) -> bytes:
    return message(
        f"SIP/2.0 {status} Whatever",
        f"Via: SIP/2.0/UDP {host};branch=z9hG4bK{number};rport=5060;received={host}",
        *DIALOG,
        f"To: <sip:bob@example.org>;tag={tag}",
        f"CSeq: {number} {method}",
        "Contact: <sip:bob@198.51.100.2:5060>",
        *([SDP] if body else []),
        body=body,
    )


def established(flow: Flow) -> Flow:
    flow.hear(CLIENT, invite())
    flow.hear(SERVER, response(200, body=sdp("198.51.100.9", 8000)))
    flow.places.log.clear()
    return flow


def register(number: int = 1, contact: str = "<sip:alice@10.1.0.2>", expires: int = 600) -> bytes:
    return message(
        "REGISTER sip:example.org SIP/2.0",
        f"Via: SIP/2.0/UDP 10.1.0.2;branch=z9hG4bKr{number}",
        "From: <sip:alice@example.org>;tag=r",
        "To: <sip:alice@example.org>",
        "Call-ID: reg@10.1.0.2",
        f"CSeq: {number} REGISTER",
        f"Contact: {contact}",
        f"Expires: {expires}",
    )


def registered(number: int = 1, contacts: str = "<sip:alice@203.0.113.1>;expires=300", *more: str) -> bytes:
    return message(
        "SIP/2.0 200 OK",
        f"Via: SIP/2.0/UDP 203.0.113.1;branch=z9hG4bKr{number}",
        "From: <sip:alice@example.org>;tag=r",
        "To: <sip:alice@example.org>;tag=s",
        "Call-ID: reg@10.1.0.2",
        f"CSeq: {number} REGISTER",
        f"Contact: {contacts}",
        *more,
    )
