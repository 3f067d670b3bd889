"""Pinholes that are never opened: what a SIP engine asks for when it is only to observe (`mode: observe`).

Whatever it asks for is granted, written to the log as what would have been opened, and nothing stands anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from protocols.contract.addresses import Endpoint, Network
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, Media, MediaGrant, Party, Pinholes, Refusal

MAX_CONTACTS = 64
"""Of one session, as `limits: pinholes_per_session` would have it."""


class Observed:
    """In place of the session's `Pinholes`."""

    __slots__ = ("_closed", "_note", "_numbers", "_standing", "may_wait")

    def __init__(
        self,
        note: Callable[[str, dict[str, Any]], None],
        numbers: Iterator[int],
        closed: list[tuple[AnyGrant, Closed]],
        may_wait: Callable[[Party], bool],
    ) -> None:
        """numbers, closed: of the daemon. Grants of all its sessions are told apart by their ids, and what one session
        has opened, another may close. may_wait: of the session's `Pinholes`."""
        self.may_wait = may_wait
        self._note = note
        self._numbers = numbers
        self._standing: dict[int, AnyGrant] = {}
        self._closed = closed

    def open(self, expect: Expect) -> Grant | Refusal:
        if sum(isinstance(grant, Grant) for grant in self._standing.values()) >= MAX_CONTACTS:
            return Refusal("limit_per_session")
        listen = expect.listen if expect.listen.port else Endpoint(expect.listen.host, expect.target.port)
        self._tell(expect.purpose, expect.trigger, listen, expect.target, expect.allow)
        grant = Grant(self._number(), expect, listen)
        self._standing[grant.id] = grant
        return grant

    def offer(self, media: Media) -> MediaGrant:
        party = media.party
        host = party.mapped or party.rtp.host
        self._tell(media.purpose, media.trigger, Endpoint(host, party.rtp.port), party.rtp, party.allow)
        rtcp = Endpoint(party.mapped or party.rtcp.host, party.rtcp.port) if party.rtcp else None
        return self._hold(MediaGrant(self._number(), media, Endpoint(host, party.rtp.port), rtcp))

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant:
        return self.offer(media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant:
        return self._hold(replace(grant, media=media))

    def _number(self) -> int:
        return -1 - next(self._numbers)

    def _hold(self, grant: MediaGrant) -> MediaGrant:
        self._standing[grant.id] = grant
        return grant

    def _tell(self, purpose: str, trigger: str, listen: Endpoint, target: Endpoint, allow: tuple[Network, ...]) -> None:
        facts = {"purpose": purpose, "trigger": trigger, "listen": listen, "target": target, "allow": allow}
        self._note("pinhole.observed", facts)

    def confirm(self, grant: Grant) -> None:
        """It admits nobody all the same."""

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        if self._standing.pop(grant.id, None) is not None:
            self._closed.append((grant, Closed(reason, 0, 0, 0.0)))

    def keep(self, seconds: float) -> None:
        """Nor has media, which nobody hears here."""

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """It has no time of its own: the engine's is the same."""

    def apart(self) -> Pinholes:
        return self
