"""What a session of PPTP has the right to ask for: tunnels between its two hosts, once one has asked for a call and the
other one has agreed."""

from __future__ import annotations

from protocols.contract.addresses import Side, Transport, only
from protocols.contract.pinholes import Media, MediaGrant, Refusal
from tests.harness.strict_pinholes import StrictPinholes

SAID = 2000
"""How many bytes that a side has said last are looked through."""


class PptpPinholes(StrictPinholes):
    _said: dict[Side, bytes] | None = None

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        said = self._said = self._said or dict.fromkeys(Side, b"")
        said[side] = (said[side] + data)[-SAID - len(data) :]

    def offer(self, media: Media) -> MediaGrant | Refusal:
        self._check(media, (7, 9))
        return Refusal("limit_per_session") if self.is_full else super().offer(media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        assert offered.media.party.side is not media.party.side, "a tunnel with itself"
        self._check(media, (8, 10))
        return Refusal("limit_per_session") if self.is_full else super().answer(offered, media)

    def _check(self, media: Media, kinds: tuple[int, int]) -> None:
        party = media.party
        assert media.transport is Transport.GRE and media.purpose == "gre-pptp" and media.trigger, media
        assert 0 < media.idle_seconds <= self.options.idle, media
        assert party.side is not None and party.data is not None and party.control is None, media
        own, seen = self.peers.own(party.side).host, self.peers.as_seen(party.side).host
        assert own.version == 4 and party.data.host == own == party.host and party.allow == only(own), media
        assert party.mapped == (seen if self.peers.is_mapped(party.side) else None), media
        assert self._said is not None
        asked = (b"\x1a\x2b\x3c\x4d" + kind.to_bytes(2, "big") for kind in kinds)
        number = party.data.port.to_bytes(2, "big")
        said = self._said[party.side]
        assert any(said.find(number, at + 8) >= 0 for words in asked if (at := said.find(words)) >= 0), (
            f"it has not said so: {media}"
        )
