"""A listener's redirect, from its first packet to what the client hears of it. Ids (T23) are those of
`protocols/FACTS.md`.

    packets          whole?      not yet: wait for the next one                T12 to T17
    text             resolved?   a name: Ask(name), and `resolved` goes on     T20
    hosts            allowed?    each by the policy; one that is not is left out   T23
    targets          opened?     a pinhole each; none at all: Refuse           T22
    text             rewritten?  where NAT maps the server                     T18
                                 Follow(packet)

What the two must believe:

1) the client dials what the redirect names, and finds our pinhole there;
2) the server that it is sent to is dialled from the address under which the first one knows the client;
3) nobody but the client gets in, and nobody but a server that the policy names is ever dialled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NamedTuple

from protocols.contract.addresses import LEAST_PORT, Endpoint, Host, Malformed, Network, Peers, Side, Transport, only
from protocols.contract.effects import Note, Outbox, violation
from protocols.contract.pinholes import Expect, Grant, Pinholes, Reader, Refusal
from protocols.tns import address as text
from protocols.tns import wire
from protocols.tns.options import TnsOptions
from protocols.toolbox.spans import Span, replace

MAX_TEXT = 8192
"""How many bytes of a redirect's text, and of connect data, are read (T14)."""
MAX_RESOLVED = 4
"""How many addresses of one name are opened for."""


@dataclass(frozen=True, slots=True)
class Redirected:
    """The role of an engine whose client comes because a listener has sent it."""

    via: tuple[Endpoint, ...]
    """The servers that have sent the client on, one after the other."""


class Ask(NamedTuple):
    """The addresses of a name are wanted. The redirect is held until they are known."""

    name: str


class Refuse(NamedTuple):
    """The redirect is not followed. The client is to hear why."""

    rule: str
    why: str


class Follow(NamedTuple):
    """The redirect goes on to the client as `packet`. Everything that it names is open."""

    packet: bytes
    grants: tuple[Grant, ...]


Step = Ask | Refuse | Follow
"""What is to be done with a redirect whose text is whole."""


class _Opened(NamedTuple):
    target: Endpoint
    grant: Grant


class Redirect:
    """One redirect of a listener, while it is held.

    The engine hands in its packets and the names that were asked for, and does what each step says. Lines of log go
    into the engine's outbox.
    """

    __slots__ = (
        "_addresses",
        "_hosts",
        "_idle_seconds",
        "_options",
        "_out",
        "_packets",
        "_peers",
        "_pinholes",
        "_text",
        "_via",
        "awaited",
    )

    def __init__(
        self, packet: bytes, peers: Peers, options: TnsOptions, pinholes: Pinholes, out: Outbox, idle_seconds: float
    ) -> None:
        """packet: the REDIRECT itself. idle_seconds: how long a connection that follows it may be silent. Raises
        Malformed."""
        self._packets = wire.begin_redirect(packet, MAX_TEXT)
        self._peers = peers
        self._via = peers.role.via if isinstance(peers.role, Redirected) else ()
        self._options = options
        self._pinholes = pinholes
        self._out = out
        self._idle_seconds = idle_seconds
        self._text = b""
        """The part of the redirect's text that names the addresses."""
        self._addresses: list[text.Address] = []
        self._hosts: dict[str, tuple[Host, ...]] = {}
        """Names in the text, in small letters, and their addresses."""
        self.awaited: str | None = None
        """The name that is being asked for."""

    # -- whole? ------------------------------------------------------------------------------------------------------

    def add(self, packet: bytes) -> None:
        """Take the next packet of the redirect. Raises Malformed when the packet cannot be one."""
        self._packets.add(packet)

    def step(self) -> Step | None:
        """What is to be done next. None: the text is not whole. Raises Malformed when the text is too long."""
        if len(self._packets.text) > MAX_TEXT:
            raise Malformed(f"more than {MAX_TEXT} bytes of redirect text")
        if not self._packets.is_whole:
            return None
        if len(self._via) >= self._options.hops:
            return Refuse("tns.too_many_hops", f"more than {self._options.hops} redirects")
        # Behind a NUL stands the connect data for the next listener, which is the client's to send (T15, T16).
        self._text = self._packets.text.partition(b"\0")[0]
        try:
            self._addresses = text.addresses(self._text)
        except Malformed as bad:
            return Refuse("tns.bad_redirect", str(bad))
        return self._resolve()

    # -- resolved? ---------------------------------------------------------------------------------------------------

    def _resolve(self) -> Step:
        """Ask for the next name whose address is not known; when all are, go on."""
        for address in self._addresses:
            if address.protocol not in text.NETWORKED or not isinstance(address.host, str):
                continue
            name = address.host.lower()
            if name in self._hosts:
                continue
            known = _configured(self._options.hosts, name)
            if known is None:
                self.awaited = name
                return Ask(name)
            self._hosts[name] = (known,)
        return self._open_all()

    def resolved(self, name: str, hosts: tuple[Host, ...]) -> Step:
        """The addresses of the name that was asked for have come. A name may have none."""
        self.awaited = None
        self._hosts[name] = hosts[:MAX_RESOLVED]
        return self._resolve()

    # -- allowed? ----------------------------------------------------------------------------------------------------

    def _forbidden(self, address: text.Address, target: Endpoint) -> str:
        """Why the client must not be led to this host (T23). Empty: it may be led there."""
        host = target.host
        if target.port < LEAST_PORT:
            return "the port is below 1024"
        if target == self._peers.server or target in self._via:
            return "it has been there"
        if host.is_loopback or host.is_link_local or host.is_multicast or host.is_unspecified:
            return "no address of a server"
        if host == self._peers.server.host:
            return ""
        for allowed in self._options.redirect_to:
            if isinstance(allowed, str):
                if isinstance(address.host, str) and _is_named(address.host, allowed):
                    return ""
            elif host in allowed:
                return ""
        if not self._options.redirect_to and not self._is_mapped and host in _neighbours(self._peers):
            return ""
        return "the policy does not name it (redirect_to)"

    @property
    def _is_mapped(self) -> bool:
        return self._peers.is_mapped(Side.SERVER)

    # -- opened? -----------------------------------------------------------------------------------------------------

    def _open_all(self) -> Step:
        """Open what may be opened, and write the redirect anew where NAT maps the server."""
        changes: list[tuple[Span, bytes]] = []
        rewritten: list[dict[str, Any]] = []
        opened: list[_Opened] = []
        reason = ""
        for address in self._addresses:
            found, why = self._open_for(address)
            opened += found
            reason = reason or why
            if not self._is_mapped:
                continue
            if found:
                target, grant = found[0]
                changes += text.point(address, grant.listen)
                rewritten.append({"field": "address", "before": target, "after": grant.listen})
            else:
                changes.append((address.whole, b""))
        if not opened:
            return Refuse("tns.redirect_elsewhere", reason)
        try:
            packet = self._rewritten(changes)
        except Malformed as bad:
            for _, grant in opened:
                self._pinholes.close(grant)
            return Refuse("tns.bad_redirect", str(bad))
        if rewritten:
            self._note("address.rewritten", message="REDIRECT", changes=rewritten)
        for target, grant in opened:
            hop = len(self._via) + 1
            self._note("tns.redirected", **{"from": self._peers.server}, to=target, known_as=grant.listen, hop=hop)
        return Follow(packet, tuple(grant for _, grant in opened))

    def _open_for(self, address: text.Address) -> tuple[list[_Opened], str]:
        """Open pinholes to the hosts that an address names. Returns them, and why there are none."""
        if address.protocol not in text.NETWORKED:
            return [], self._elsewhere(address, f"protocol {address.protocol}")
        hosts = self._hosts[address.host.lower()] if isinstance(address.host, str) else (address.host,)
        if not hosts:
            return [], self._elsewhere(address, "the name has no address")
        found: list[_Opened] = []
        reason = "no address of the server's family"
        for host in hosts:
            target = Endpoint(host, address.port)
            if host.version != self._peers.server.host.version:
                continue
            if why := self._forbidden(address, target):
                reason = why
                continue
            grant = self._open(target)
            if isinstance(grant, Refusal):
                reason = grant.reason
                continue
            found.append(_Opened(target, grant))
            if self._is_mapped:
                break  # one pinhole will do: the text names one
        return found, "" if found else self._elsewhere(address, reason)

    def _open(self, target: Endpoint) -> Grant | Refusal:
        """Open a pinhole through which the client comes to the next server. An engine reads that session, too."""
        peers = self._peers
        return self._pinholes.open(
            Expect(
                Transport.TCP,
                "tns",
                "REDIRECT",
                listen=Endpoint(peers.server_as_seen.host, 0) if self._is_mapped else target,
                allow=only(peers.client.host),
                target=target,
                source=Endpoint(peers.client_as_seen.host, 0),
                idle_seconds=self._idle_seconds,
                reader=Reader("tns", Redirected((*self._via, peers.server))),
            )
        )

    def _elsewhere(self, address: text.Address, why: str) -> str:
        """An address is left out. Tell the log, and return words for the client."""
        where = f"{address.host}:{address.port}"
        self._out.add(violation("tns.redirect_elsewhere", f"{where}: {why}", "not opened"))
        return f"{where} {why}"

    # -- rewritten? --------------------------------------------------------------------------------------------------

    def _rewritten(self, changes: list[tuple[Span, bytes]]) -> bytes:
        """The redirect with our addresses in it. Raises Malformed when it does not fit a packet any more (T18)."""
        if not self._is_mapped:
            return self._packets.as_it_came()
        new = replace(self._text, sorted(changes)) + self._packets.text[len(self._text) :]
        return self._packets.with_text(new)

    def _note(self, event: str, **facts: Any) -> None:
        self._out.add(Note(event, facts))


def _configured(hosts: Mapping[str, Host], name: str) -> Host | None:
    """The address that the policy gives a name (`hosts`)."""
    return next((host for alias, host in hosts.items() if _plain(alias) == _plain(name)), None)


def _plain(name: str) -> str:
    """The name in the form in which names are compared: in small letters and without the dot of the root at the end
    (RFC 1034 s.3.1)."""
    return name.lower().rstrip(".")


def _is_named(name: str, pattern: str) -> bool:
    """Whether a pattern has this name. `*.example.org` stands for every name below it."""
    name, pattern = _plain(name), _plain(pattern)
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _neighbours(peers: Peers) -> Network:
    """The network around the server, in which a cluster has its other hosts (T23)."""
    host = peers.server.host
    return ip_network(f"{host}/{24 if host.version == 4 else 64}", strict=False)
