"""What an MGCP session has the right to ask for: media, of the gateway where it says so itself, and of the far end
where its agent says so and the options let it be."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.addresses import Endpoint, Host, Side, only
from protocols.contract.effects import Effect, Send
from protocols.contract.pinholes import Expect, Grant, Media, MediaGrant, Refusal
from protocols.mgcp.wire import split
from tests.harness.media import said
from tests.harness.strict_pinholes import StrictPinholes


class MgcpPinholes(StrictPinholes):
    def judge(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        """Without NAT what goes on is as it came, message by message; only commands are answered."""
        if any(map(self.peers.is_mapped, Side)):
            return
        for effect in effects:
            if isinstance(effect, Send) and effect.to is not side:
                for message, _ in split(effect.data):
                    assert message in data, f"something else goes on: {effect}"

    def open(self, expect: Expect) -> Grant | Refusal:
        raise AssertionError(f"no command asks for that: {expect}")

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
        assert media.purpose in ("rtp", "udptl") and media.trigger
        assert 0 < media.idle_seconds <= 366 * 86400, f"for ever: {media}"
        for at in (party.data, party.control):
            assert at is None or self._may_wait(at, party.mapped), f"not a place of a party: {media}"
        hosts = self.own | {said(party.data).host}
        assert party.allow and {network for host in hosts for network in only(host)} >= set(party.allow), media
        if party.mapped is not None:
            mapped = {peers.as_seen(side).host for peers in self.sessions for side in Side if peers.is_mapped(side)}
            assert party.mapped in mapped, media

    def _may_wait(self, at: Endpoint, mapped: Host | None) -> bool:
        is_local = at.host.is_loopback or at.host.is_link_local
        if at.port < 1024 or (is_local and at.host not in self.own) or at.host.is_multicast or at.host.is_unspecified:
            return False
        if mapped is None:
            return at.host in self.named | self.own
        named = (network for options in self.options_of_all for network in options.media)
        return at.host in self.mapped_to(mapped) or any(at.host in network for network in named)
