"""The answer to SETUP: the server's place beside the client's, and what the client is told of both (RT26).

What each side must believe stands at the top of setup.py.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from protocols.contract.addresses import Endpoint, Host, Malformed, Peers, Side, only
from protocols.contract.effects import violation
from protocols.contract.pinholes import MediaGrant, Party, Refusal
from protocols.rtsp import transport
from protocols.rtsp.options import RtspOptions
from protocols.rtsp.sessions import Session, Stream
from protocols.rtsp.setup import Asked, Change, Setups, at_itself, moved, ports_of
from protocols.rtsp.transport import Spec
from protocols.rtsp.urls import host_of
from protocols.rtsp.wire import Head

CLIENT, SERVER = Side.CLIENT, Side.SERVER

_HIDDEN = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7")))
"""Addresses that mean nothing to other networks (RFC 1918, 3927, 4193)."""


class Agreements:
    """Makes agreements of what the SETUPs of one connection have asked for."""

    __slots__ = ("_options", "_peers", "_setups")

    def __init__(self, peers: Peers, options: RtspOptions, setups: Setups) -> None:
        self._peers = peers
        self._options = options
        self._setups = setups

    def chosen(self, head: Head) -> tuple[Spec | None, int]:
        """The way that the server has chosen, and where the value stands. None: it does not say."""
        spans = head.fields.get(b"transport", [])
        if not spans:
            return None, 0
        try:
            return transport.read(head.value(spans[0]), head.is_2)[0], spans[0].start
        except Malformed:
            self._setups.kept("Transport", None, "malformed")
            return None, 0

    def agree(
        self, asked: Asked, session: Session, spec: Spec | None, at: int, head: Head, now: float
    ) -> tuple[Stream, list[Change]]:
        """A 2xx has come. `spec` is what it names, at this offset. Returns the stream that is agreed now, and what
        becomes of the answer."""
        changes: list[Change] = []
        said = spec or asked.specs[0]  # an answer without Transport takes the first one (RT41)
        if spec is not None and not spec.is_multicast:
            self._map_back(spec, asked, head, at, changes)
        before = session.streams.get(asked.url)
        stream = self._pick(said, asked, spec) if said.is_udp else None
        for other in asked.streams:
            other.waits -= 1
            if other is not stream and other.session is None and not other.waits:
                self._setups.give_up(other)
        if stream is None:
            stream = Stream(asked.url, said.kind, now, self._setups)
        if before is not None and before is not stream:
            self._setups.notes += session.close(before, now)
        stream.session, stream.expires_at = session, None
        if stream in self._setups.offers:
            self._setups.offers.remove(stream)
            stream.began_at = now
        session.streams[asked.url] = stream
        session.open[stream] = None
        if stream.part is not None:
            self._join(stream, spec, at, session, head, changes)
        return stream, [(span, new) for span, new in sorted(changes)]

    def _pick(self, said: Spec, asked: Asked, spec: Spec | None) -> Stream | None:
        """The place that the answer is for: the one whose ports it names, or the first."""
        standing = [stream for stream in asked.streams if stream.offered is not None]
        if spec is not None and said.client and said.client[0].port:
            for stream in standing:
                if said.client[0].port in (*stream.announced[:1], stream.client[0].port if stream.client else 0):
                    return stream
            if standing:
                self._setups.kept("client_port", said.client[0].port, "not_asked_for")
        return standing[0] if standing else None

    def _map_back(self, spec: Spec, asked: Asked, head: Head, at: int, changes: list[Change]) -> None:
        """What was mapped in the request is in the answer what the client has said."""
        peers = self._peers
        if not peers.is_mapped(CLIENT):
            return
        for end in spec.client:
            before = b"%d" % end.port
            if before in asked.texts:
                changes.append((moved(end.port_at, at), asked.texts[before]))
        for host, text, place, _ in spec.hosts():
            if host == peers.client_as_seen.host:
                own = transport.text_of(peers.client.host, is_2=not text)
                changes.append((moved(place, at), own))

    def _join(
        self, stream: Stream, spec: Spec | None, at: int, session: Session, head: Head, changes: list[Change]
    ) -> None:
        """The server's place beside the client's."""
        party = self._server(stream, spec)
        if party is None or stream.offered is None or stream.part is None:
            return
        media = stream.offered.media
        if media.idle_seconds != session.idle_seconds:
            changed = stream.part.change(stream.offered, replace(media, idle_seconds=session.idle_seconds))
            stream.offered = changed if isinstance(changed, MediaGrant) else stream.offered
        wanted = replace(stream.offered.media, party=party, open_seconds=None)
        held = stream.answered
        if held is None:
            grant = stream.part.answer(stream.offered, wanted)
        elif held.media.party != party:
            grant = stream.part.change(held, wanted)
        else:
            grant = held
        if isinstance(grant, Refusal):
            self._setups.kept("server_port", party.known, grant.reason)
            return
        stream.answered = grant
        stream.server = party.known
        self._setups.stands(grant, stream)
        if spec is not None and self._peers.is_mapped(SERVER):
            self._announce(spec, at, grant, head, changes)

    def _announce(self, spec: Spec, at: int, grant: MediaGrant, head: Head, changes: list[Change]) -> None:
        """The server is at its place."""
        seen = self._peers.server_as_seen.host
        ports = tuple(place.port for place in (grant.data, grant.control) if place is not None)
        for end, port in ports_of(spec.server, ports):
            changes.append((moved(end.port_at, at), b"%d" % port))
        for end in spec.server:
            if end.host is not None and not end.host.is_unspecified:
                changes.append((moved(end.host_at, at), transport.text_of(seen, is_2=True)))
        host = _host(spec.source.value) if spec.source is not None else None
        if spec.source is not None and host is not None and not host.is_unspecified:
            changes.append((moved(spec.source.at, at), transport.text_of(seen, is_2=False)))

    def _server(self, stream: Stream, spec: Spec | None) -> Party | None:
        """The server, as a party of the stream. None: its media has no way in."""
        own = self._peers.server.host
        host = own if spec is None else self._source(spec)
        if host is None:
            return None
        ends = transport.ends(at_itself(spec.server), host) if spec is not None else None
        data, control = ends or (None, None)
        pair = stream.client is not None and stream.client[1] is not None
        if pair and data is not None and control is None and spec is not None and spec.is_rtp and len(spec.server) == 1:
            control = Endpoint(data.host, data.port + 1) if data.port < 65535 else None
        if (low := self._setups.low((data, control)) if data is not None else None) is not None:
            self._setups.notes.append(violation("rtsp.low_port", f"the answer to SETUP names {low}", "nothing opened"))
            return None
        mapped = self._peers.server_as_seen.host if self._peers.is_mapped(SERVER) else None
        return Party(
            data,
            control,
            mapped,
            only(host),
            host=own,
            side=SERVER,
            is_named=host != own,
            has_control=pair,
        )

    def _source(self, spec: Spec) -> Host | None:
        """The host from which the server has media sent (RT19). None: it is one that may not."""
        own, seen = self._peers.server.host, self._peers.server_as_seen.host
        named = [_host(spec.source.value)] if spec.source is not None else []
        named += [at.host for at in spec.server if at.is_named]
        hosts = {host for host in named if host is not None and not host.is_unspecified}
        if hosts <= {own, seen}:
            return own
        host = hosts.pop()
        if not hosts and _is_hidden(host) and not _is_hidden(own):
            self._setups.kept(
                "source", host, "behind_a_nat"
            )  # of the server's own; what comes has the address that we know
            return own
        if not hosts and any(host in network for network in self._options.media_hosts):
            return host
        self._setups.notes.append(violation("rtsp.source", f"media is to come from {host}", "nothing opened"))
        return None


def _host(value: bytes) -> Host | None:
    """The address that this is. A name is never looked up."""
    return host_of(value.strip(b'"'))


def _is_hidden(host: Host) -> bool:
    return any(host in network for network in _HIDDEN)
