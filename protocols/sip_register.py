"""SIP registrations: who may call a phone at the address that it registered, and for how long.

RFC 3261 s.10 (REGISTER), RFC 3327 (Path), RFC 3608 (Service-Route). What a phone asks for is a wish: its binding lives
as long as the 2xx says for that contact (S53), and only the 2xx opens or closes anything (S56).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from protocols.engine import (
    AnyGrant,
    Endpoint,
    Expect,
    Grant,
    Host,
    Network,
    Peers,
    Pinholes,
    Refusal,
    Side,
    only,
)
from protocols.sip_message import Message
from protocols.sip_rewrite import DEFAULT_PORT, Rewriter
from protocols.sip_values import Address

DEFAULT_SECONDS = 3600
"""RFC 3261 s.10.2.1.1: where nobody says."""
GRACE_SECONDS = 32.0
"""Timer F: a refresh that is on its way still counts."""
MAX_PENDING = 64
MAX_SECONDS = 7 * 86400
_ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a REGISTER asked for."""

    side: Side
    aor: bytes
    contacts: dict[Endpoint, int | None]
    """By the phone's own address: seconds, if it said."""
    default: int | None
    """The Expires field."""
    removes_all: bool


@dataclass(slots=True, eq=False)
class Binding:
    aor: bytes
    contact: Endpoint
    grant: Grant


class Registrations:
    """Those that came by one flow or connection."""

    __slots__ = ("_bindings", "_note", "_peers", "_pending", "_pinholes", "_rewriter", "_strict", "_trusted")

    def __init__(
        self,
        peers: Peers,
        pinholes: Pinholes,
        rewriter: Rewriter,
        trusted: tuple[Network, ...],
        strict: bool,
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """strict: only the registrar, hosts that its 2xx names, and `trusted` may call."""
        self._peers = peers
        self._pinholes = pinholes
        self._rewriter = rewriter
        self._trusted = trusted
        self._strict = strict
        self._note = note
        self._bindings: dict[Endpoint, Binding] = {}
        self._pending: dict[tuple[bytes, int], Wish] = {}

    def __len__(self) -> int:
        return len(self._bindings)

    def asked(self, message: Message, side: Side) -> None:
        """A REGISTER from `side`. A contact that is not its own is somebody else's, and opens nothing (S57)."""
        host = self._peers.own(side).host
        contacts: dict[Endpoint, int | None] = {}
        removes_all = False
        for _, address in message.addresses(b"contact"):
            if address.is_star:
                removes_all = True
            elif isinstance(address.host, Host):
                contact = Endpoint(address.host, address.port or DEFAULT_PORT)
                if address.host != host or contact.port < 1024:
                    self._note("violation", {
                        "rule": "sip.contact_elsewhere", "detail": str(contact), "action": "no pinhole opened",
                    })  # fmt: skip
                else:
                    contacts[contact] = _seconds(address.parameter(b"expires"))
        aor = message.addresses(b"to")[0]
        name = message.data[aor[0].start : aor[0].end]
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        default = _seconds(message.first(b"expires"))
        uri = name[aor[1].uri.start : aor[1].uri.end]
        self._pending[message.call_id, message.cseq.number] = Wish(side, uri, contacts, default, removes_all)

    def answered(self, message: Message) -> None:
        """A final response to a REGISTER. One to an older request, or one that nobody sent, means nothing (S56)."""
        wish = self._pending.pop((message.call_id, message.cseq.number), None)
        if wish is None or message.status >= 300:
            return
        granted = {
            Endpoint(address.host, address.port or DEFAULT_PORT): address
            for _, address in message.addresses(b"contact")
            if isinstance(address.host, Host)
        }
        default = _seconds(message.first(b"expires"))
        if wish.removes_all:
            for contact in tuple(self._bindings):
                self._remove(contact)
        for contact, asked in wish.contacts.items():
            seen = self._rewriter.outward(wish.side, contact.host, contact.port) or contact
            seconds = self._granted(granted.get(seen), asked, default, wish)
            if seconds:
                self._bind(wish, contact, seen, seconds, self._callers(message, wish.side))
            else:
                self._remove(contact)

    @staticmethod
    def _granted(found: Address | None, asked: int | None, default: int | None, wish: Wish) -> int:
        """The contact's own parameter, else the response's Expires, else what was asked, else an hour (S53)."""
        own = _seconds(found.parameter(b"expires")) if found is not None else None
        for seconds in (own, default if found is not None else None, asked, wish.default):
            if seconds is not None:
                return seconds
        return DEFAULT_SECONDS

    def _callers(self, message: Message, side: Side) -> tuple[Network, ...]:
        if not self._strict:
            return _ANYBODY
        hosts = {self._peers.own(side.other).host}
        for name in (b"service-route", b"path"):
            hosts.update(address.host for _, address in message.addresses(name) if isinstance(address.host, Host))
        return (*self._trusted, *(network for host in sorted(hosts, key=str) for network in only(host)))

    def _bind(self, wish: Wish, contact: Endpoint, seen: Endpoint, seconds: int, allow: tuple[Network, ...]) -> None:
        lasts = seconds + GRACE_SECONDS
        binding = self._bindings.get(contact)
        if binding is not None and binding.grant.expect.allow == allow:
            self._pinholes.prolong(binding.grant, lasts)
            self._tell("registration.refreshed", wish.aor, contact, seen, seconds)
            return
        expect = Expect(
            self._peers.transport, "sip", "200 REGISTER", listen=seen, allow=allow, target=contact, source=None,
            idle_seconds=lasts, open_seconds=lasts, uses=None, is_read=True,
        )  # fmt: skip
        grant = self._pinholes.open(expect)
        if binding is not None:
            self._pinholes.close(binding.grant)
            del self._bindings[contact]
        if isinstance(grant, Refusal):
            return
        self._bindings[contact] = Binding(wish.aor, contact, grant)
        event = "registration.added" if binding is None else "registration.refreshed"
        self._tell(event, wish.aor, contact, seen, seconds)

    def _remove(self, contact: Endpoint) -> None:
        binding = self._bindings.pop(contact, None)
        if binding is not None:
            self._pinholes.close(binding.grant)
            self._tell("registration.removed", binding.aor, contact, binding.grant.listen)

    def closed(self, grant: AnyGrant) -> None:
        """A pinhole is gone by itself: its time is over."""
        for contact, binding in tuple(self._bindings.items()):
            if binding.grant.id == grant.id:
                del self._bindings[contact]
                self._tell("registration.expired", binding.aor, contact, binding.grant.listen)

    def _tell(self, event: str, aor: bytes, contact: Endpoint, seen: Endpoint, seconds: int | None = None) -> None:
        facts: dict[str, Any] = {"aor": aor, "contact": contact, "known_as": seen}
        self._note(event, facts | ({"expires_seconds": seconds} if seconds is not None else {}))


def _seconds(text: bytes | None) -> int | None:
    """RFC 3261 s.20.19: digits; others mean nothing."""
    if text is None or not text.isdigit() or len(text) > 10:
        return None
    return min(int(text), MAX_SECONDS)
