"""What the session of each helper has the right to ask for. Whoever asks for more fails the test."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

from protocols.engine import (
    Endpoint,
    Expect,
    Grant,
    Host,
    Media,
    MediaGrant,
    Network,
    Peers,
    Refusal,
    Side,
    Transport,
    only,
)
from tests.fake_pinholes import FakePinholes

MAX_PINHOLES = 64


class StrictPinholes(FakePinholes):
    """Refuses nothing but what is over the cap, and fails the test for what the session has no right to."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(beside)
        self.peers = peers
        self.sessions: list[Peers] = beside.sessions if beside else []
        """Of this daemon: what one has opened may be changed by what another hears."""
        self.sessions.append(peers)
        self.options = options
        self.named: set[Host] = beside.named if beside else set()
        """Every address that somebody has said to this daemon."""
        self.visited: set[int] = set()
        self._half_said = dict.fromkeys(Side, b"")

    @property
    def is_full(self) -> bool:
        return len(self.standing) >= MAX_PINHOLES

    @property
    def own(self) -> set[Host]:
        return {peers.own(side).host for peers in self.sessions for side in Side}

    @property
    def seen(self) -> set[Host]:
        return {peers.as_seen(side).host for peers in self.sessions for side in Side}

    def mapped_to(self, host: Host) -> set[Host]:
        """Who is known by this address."""
        return {peers.own(side).host for peers in self.sessions for side in Side if peers.as_seen(side).host == host}

    def hear(self, side: Side, data: bytes) -> None:
        """Something arrives that may name hosts; on a stream perhaps but the second half of a name."""
        data = self._half_said[side] + data
        self._half_said[side] = data[-50:] if self.peers.transport is Transport.TCP else b""
        for word in re.findall(rb"[0-9a-fA-F.:]{2,}", data):
            bare = word.strip(b".:")
            for text in {word, bare, bare.partition(b":")[0]}:
                try:
                    self.named.add(ip_address(text.decode()))
                except ValueError:
                    continue


class FtpPinholes(StrictPinholes):
    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self.third_party: tuple[Network, ...] = () if options.third_party == "deny" else options.third_party

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        sides = [side for side in Side if self.peers.own(side).host == expect.target.host]
        assert sides or self._may_be_third(expect.target.host), f"a third host: {expect}"
        assert expect.target.port >= self.options.min_port, f"a low port: {expect}"
        others = [self.peers.own(side.other).host for side in sides or Side]
        allowed = set(expect.allow) - set(self.third_party)
        assert len(allowed) == 1, f"more than the other side may come: {expect}"
        (network,) = allowed
        assert network.num_addresses == 1 and network.network_address in others, f"somebody else may come: {expect}"
        assert expect.listen.host in self.seen or self._may_be_third(expect.listen.host), f"a foreign place: {expect}"
        assert expect.source is not None and expect.source.host in self.seen, f"a foreign source: {expect}"
        assert expect.transport is Transport.TCP and not expect.is_read
        assert expect.purpose and expect.trigger and expect.uses is not None and expect.uses >= 1
        assert expect.idle_seconds > 0
        return super().open(expect)

    def _may_be_third(self, host: Host) -> bool:
        return any(host in network for network in self.third_party)


ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class SipPinholes(StrictPinholes):
    """Ways to a party, for hosts that somebody has named and those of the options; and media."""

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        assert expect.target.host in self.own, f"a third host: {expect}"
        assert expect.target.port >= 1024, f"a low port: {expect}"
        assert expect.target.host in self.mapped_to(expect.listen.host), f"a foreign place: {expect}"
        assert expect.source is None or expect.source.host in self.seen, f"a foreign source: {expect}"
        assert expect.purpose == "sip" and expect.trigger and expect.is_read and expect.uses is None
        assert expect.open_seconds is not None and 0 < expect.open_seconds <= 8 * 86400, f"for ever: {expect}"
        assert bool(expect.allow) is expect.confirmed, f"reserved for somebody, or open to nobody: {expect}"
        self._check_callers(expect.allow)
        return super().open(expect)

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert seconds <= 8 * 86400, "for ever"
        self._check_callers(allow)
        super().renew(grant, allow, seconds)

    def _check_callers(self, allow: tuple[Network, ...]) -> None:
        hosts = self.own | self.named
        for network in set(allow) - set(self.options.trusted_peers):
            if network in ANYBODY:
                assert not self.options.strict_register, f"anybody may come: {allow}"
            else:
                assert network.num_addresses == 1 and network.network_address in hosts, f"who is that: {network}"

    def offer(self, media: Media) -> MediaGrant | Refusal:
        self._check(media)
        return Refusal("limit_per_session") if self.is_full else super().offer(media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        self._check(media)
        return Refusal("limit_per_session") if self.is_full else super().answer(offered, media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        self._check(media)
        return super().change(grant, media)

    def _check(self, media: Media) -> None:
        party = media.party
        assert media.purpose in ("rtp", "udptl") and media.trigger and media.idle_seconds > 0
        for at in (party.rtp, party.rtcp):
            assert at is None or self._may_wait(at, party.mapped), f"not a place of a party: {media}"
        hosts = self.own | {party.rtp.host}
        assert party.allow and {network for host in hosts for network in only(host)} >= set(party.allow), media
        if party.mapped is not None:
            mapped = {peers.as_seen(side).host for peers in self.sessions for side in Side if peers.is_mapped(side)}
            assert party.mapped in mapped, media

    def _may_wait(self, at: Endpoint, mapped: Host | None) -> bool:
        if at.port < 1024 or at.host.is_loopback or at.host.is_link_local or at.host.is_multicast:
            return False
        if at.host.is_unspecified:
            return False
        if mapped is None:
            return at.host in self.named
        # Behind us only the host that signals has a say, and whoever the options name.
        return at.host in self.mapped_to(mapped) or any(at.host in network for network in self.options.media_hosts)


class TnsPinholes(StrictPinholes):
    """To the server's neighbours where it is not mapped, else to itself; for the client alone, once."""

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        server, target = self.peers.server, expect.target
        neighbours = ip_network(f"{server.host}/{24 if server.host.version == 4 else 64}", strict=False)
        is_mapped = self.peers.is_mapped(Side.SERVER)
        assert target.host == server.host or (target.host in neighbours and not is_mapped), expect
        assert target.port >= 1024 and target != server, expect
        listen = self.peers.server_as_seen.host if self.peers.is_mapped(Side.SERVER) else target.host
        assert expect.listen.host == listen, expect
        assert expect.allow == only(self.peers.client.host), expect
        assert expect.source is not None and expect.source.host == self.peers.client_as_seen.host, expect
        assert (expect.transport, expect.uses, expect.is_read) == (Transport.TCP, 1, True), expect
        assert expect.via == (*self.peers.via, server), expect
        return super().open(expect)


RIGHTS: dict[str, type[StrictPinholes]] = {"ftp": FtpPinholes, "sip": SipPinholes, "tns": TnsPinholes}


def left_of(engine: Any) -> dict[str, Any]:
    """What still stands in the table that the engines of a daemon share, if they do."""
    table = getattr(engine, "_table", None)
    names = getattr(type(table), "__slots__", ())
    held = {name: getattr(table, name) for name in names}
    return {name: value for name, value in held.items() if isinstance(value, dict) and value}
