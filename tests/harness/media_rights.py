"""What a session that agrees on media has the right to ask for, whichever protocol it agrees by."""

from __future__ import annotations

from protocols.contract.addresses import Endpoint, Host, Side, only
from protocols.contract.pinholes import Media, MediaGrant, Refusal
from tests.harness.media import said
from tests.harness.strict_pinholes import StrictPinholes


class MediaPinholes(StrictPinholes):
    """Places of media for the parties that signal, for hosts that somebody has named, and for those of an option."""

    third_hosts: str
    """The option that names third hosts behind us."""

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
        for at in (party.data, party.control):
            assert at is None or self._may_wait(at, party.mapped), f"not a place of a party: {media}"
        hosts = self.own | {said(party.data).host}
        assert party.allow and {network for host in hosts for network in only(host)} >= set(party.allow), media
        if party.mapped is not None:
            mapped = {peers.as_seen(side).host for peers in self.sessions for side in Side if peers.is_mapped(side)}
            assert party.mapped in mapped, media

    def _may_wait(self, at: Endpoint, mapped: Host | None) -> bool:
        # Who signals from a loopback address, as in captures of one machine, is there: an engine takes its word as any
        # other party's, and it is the shell that lets nobody come to such a place (`target_not_allowed`).
        is_local = at.host.is_loopback or at.host.is_link_local
        if at.port < 1024 or (is_local and at.host not in self.own) or at.host.is_multicast or at.host.is_unspecified:
            return False
        if mapped is None:
            return at.host in self.named | self.own
        # Behind us only the host that signals has a say, and whoever the options name.
        named = (network for options in self.options_of_all for network in getattr(options, self.third_hosts))
        return at.host in self.mapped_to(mapped) or any(at.host in network for network in named)
