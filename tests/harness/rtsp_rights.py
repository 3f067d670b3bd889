"""What a session of RTSP has the right to ask for."""

from __future__ import annotations

from typing import Any

from protocols.contract.addresses import Network, Peers, Side
from protocols.contract.pinholes import Expect, Grant, Media, MediaGrant, Refusal
from tests.harness.strict_pinholes import StrictPinholes


class RtspPinholes(StrictPinholes):
    """Media between the client and its server, each at its own address, or of hosts that an option names."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._said = b""
        self.may_be_agreed = False

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        if side is Side.SERVER:
            self._said = (self._said + data)[-len(data) - 10 :]
            self.may_be_agreed = self.may_be_agreed or b" 2" in self._said

    def open(self, expect: Expect) -> Grant | Refusal:
        raise AssertionError(f"nothing but media: {expect}")

    def offer(self, media: Media) -> MediaGrant | Refusal:
        self._judge(media, Side.CLIENT, ())
        return Refusal("limit_per_session") if self.is_full else super().offer(media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        assert self.may_be_agreed, f"before a 2xx: {media}"
        self._judge(media, Side.SERVER, self.options.media_hosts)
        return Refusal("limit_per_session") if self.is_full else super().answer(offered, media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        side = media.party.side
        assert side is not None and side is grant.media.party.side
        self._judge(media, side, self.options.media_hosts if side is Side.SERVER else ())
        return super().change(grant, media)

    def _judge(self, media: Media, side: Side, others: tuple[Network, ...]) -> None:
        party, own = media.party, self.peers.own(side).host
        (network,) = party.allow
        host = network.network_address
        assert network.num_addresses == 1 and (host == own or any(host in other for other in others)), media
        for at in (party.data, party.control):
            assert at is None or (at.host == host and at.port >= self.options.min_port), media
        seen = self.peers.as_seen(side).host
        assert party.mapped == (seen if self.peers.is_mapped(side) else None), media
        assert party.side is side and not party.learn and media.idle_seconds < float("inf"), media
