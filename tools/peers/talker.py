"""Phones that talk for a while: each call is media both ways, packet after packet, until one of the two hangs up."""

from __future__ import annotations

import asyncio
import contextlib

from tools.peers.sip_phone import RTP_MEDIA, Dialog, Phone

PACKET_SECONDS = 0.5
LONGEST_SECONDS = 40.0
PAYLOAD = bytes(168)
UDP_LENGTH = 8 + 4 + len(PAYLOAD)
"""By which packets of these phones are known on the wire. No message of theirs is so short."""


class Talker(Phone):
    """It sends two packets a second, which is as much as a thousand of them can do in one process."""

    async def _talk(self, dialog: Dialog, body: str) -> None:
        if (found := RTP_MEDIA.search(body)) is None:
            return
        to = found[1], int(found[2])
        for number in range(1, int(self._chance.uniform(1, LONGEST_SECONDS) / PACKET_SECONDS) + 1):
            if dialog.is_over:
                return
            with contextlib.suppress(OSError):
                dialog.media.sendto(b"\x80\x08" + number.to_bytes(2) + PAYLOAD, to)
                self._did["packets sent"] += 1
                while dialog.media.recv(2048):
                    self._did["audio heard"] += 1
            await asyncio.sleep(PACKET_SECONDS)
