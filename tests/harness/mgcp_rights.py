"""What an MGCP session has the right to ask for: media, of the gateway where it says so itself, and of the far end
where its agent says so and the options let it be."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.contract.addresses import Side
from protocols.contract.effects import Effect, Send
from protocols.contract.pinholes import Expect, Grant, Media, Refusal
from protocols.mgcp.wire import split
from tests.harness.media_rights import MediaPinholes


class MgcpPinholes(MediaPinholes):
    third_hosts = "media"

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

    def _check(self, media: Media) -> None:
        assert media.idle_seconds <= 366 * 86400, f"for ever: {media}"
        super()._check(media)
